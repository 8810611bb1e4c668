"""What follows from the gradients of a step: new parameters, momentum and averages, and figures."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nfnets.optim.clipping import ALL, clipped_fractions
from nfnets.optim.ema import update_ema
from nfnets.optim.norms import tree_norm
from nfnets.training.config import OptimizerConfig
from nfnets.training.freezing import hold

Figures = dict[str, jax.Array]


class Before(NamedTuple):
  """What an update begins with."""

  step: jax.Array
  params: Any
  opt_state: Any
  ema_params: Any
  gradients: Any
  loss: jax.Array


class After(NamedTuple):
  """What an update ends with."""

  params: Any
  opt_state: Any
  ema_params: Any
  taken: jax.Array
  """A flag.  Where it is not set, the three above are as they were."""
  figures: Figures


Update = Callable[[Before], After]


def make_update(
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  config: OptimizerConfig,
  *,
  depths: Sequence[int],
  frozen: Collection[str],
) -> Update:
  """The update as optax has it, array by array.

  Args:
    optimizer: what makes updates of gradients.
    schedule: the learning rate within it.
    config: of which clipping and the decay of the average are read here.
    depths: how many blocks each stage of the network has.
    frozen: the places of `nfnets.optim.depths` that stay as they are.
  """

  def update(old: Before) -> After:
    updates, opt_state = optimizer.update(old.gradients, old.opt_state, old.params)
    params = hold(frozen, old.params, optax.apply_updates(old.params, updates))
    averages = update_ema(old.ema_params, params, old.step, config.ema_decay)
    figures = {
      'learning_rate': jnp.asarray(schedule(old.step), jnp.float32),
      'gradient_norm': tree_norm(old.gradients),
      'parameter_norm': tree_norm(old.params),
    }
    taken = is_finite(loss=old.loss, **figures)
    new = params, opt_state, hold(frozen, old.ema_params, averages)
    before = old.params, old.opt_state, old.ema_params
    params, opt_state, averages = keep_unless(taken, new, before)
    figures |= _clipped(old, config, depths, frozen)
    return After(params, opt_state, averages, taken, figures)

  return update


def is_finite(
  *, loss: jax.Array, learning_rate: jax.Array, gradient_norm: jax.Array, parameter_norm: jax.Array
) -> jax.Array:
  """Whether a step may be taken; told by what is known before it.

  To look at the new parameters instead, all that is updated would have to be written first, then
  read again and chosen from.  The square overflows where a norm would; momentum is not counted.
  """
  reach = learning_rate * (gradient_norm + parameter_norm)
  return jnp.isfinite(loss) & jnp.isfinite(jnp.square(reach)) & jnp.isfinite(parameter_norm)


def keep_unless(taken: jax.Array, new: Any, old: Any) -> Any:
  """`new` where the flag is set, else `old`."""
  return jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old)


def name_clipped(fractions: Mapping[str, Any]) -> dict[str, Any]:
  """The fractions of `clipped_fractions` as figures: 'clipped', 'clipped_stem', ..."""
  parts = {f'clipped_{part}': x for part, x in fractions.items() if part != ALL}
  return {'clipped': fractions[ALL]} | parts


def _clipped(
  old: Before, config: OptimizerConfig, depths: Sequence[int], frozen: Collection[str]
) -> Figures:
  """The share of units that AGC clips, in all and part by part."""
  if config.clipping is None:
    return {}
  return name_clipped(
    clipped_fractions(
      old.gradients,
      old.params,
      config.clipping,
      depths=depths,
      eps=config.clip_eps,
      norm=config.clip_norm,
      frozen=frozen,
    )
  )
