"""The part of a network that a run leaves as it was."""

import contextlib
import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import haiku as hk
import jax

from nfnets import names
from nfnets.models.normalization import BatchNorm
from nfnets.models.residual import feature_names
from nfnets.models.zoo import Model
from nfnets.optim.depths import in_places, place_of

NOTHING: frozenset[str] = frozenset()


def frozen_places(model: Model, freeze_to: str | None) -> frozenset[str]:
  """The places of `nfnets.optim.depths` up to and including that which `freeze_to` names.

  Args:
    model: the network.
    freeze_to: a feature of the network: 'stem', 'block_5', 'stage_1' (all blocks up to its last),
      'neck' (all but the head); None for nothing.

  Raises:
    InputError: the network has no such feature.
  """
  if freeze_to is None:
    return NOTHING
  there_are = feature_names(model.variant)
  names.look_up(freeze_to, dict.fromkeys(there_are), argument='finetune.freeze_to')
  return frozenset(there_are[: there_are.index(freeze_to) + 1])


def stop_gradients(frozen: Collection[str], params: Any) -> Any:
  """`params`, of which those in frozen places are constants to differentiation."""
  if not frozen:
    return params
  stopped = jax.tree.map(jax.lax.stop_gradient, params)
  return hold(frozen, stopped, params)


def hold(frozen: Collection[str], old: Any, new: Any) -> Any:
  """`new`, with what is in frozen places as it is in `old`; of parameters or network state."""
  if not frozen:
    return new
  return jax.tree.map(
    lambda is_frozen, a, b: a if is_frozen else b, in_places(frozen)(old), old, new
  )


def frozen_statistics(frozen: Collection[str]) -> contextlib.AbstractContextManager[None]:
  """In a `with` block, batch normalization in frozen places is that of evaluation.

  There it normalizes by its moving averages, which stay as they are.
  """

  def intercept(
    call: Callable[..., Any], args: tuple[Any, ...], kwargs: Any, context: hk.MethodContext
  ) -> Any:
    module = context.module
    is_norm = isinstance(module, BatchNorm) and context.method_name == '__call__'
    if is_norm and place_of(module.module_name, '') in frozen:
      x, mode = args
      args = x, dataclasses.replace(mode, is_training=False)
    return call(*args, **kwargs)

  return hk.intercept_methods(intercept) if frozen else contextlib.nullcontext()
