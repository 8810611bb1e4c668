"""Batch normalization as constants: what evaluation, or FrozenBN, computes with each channel."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nfnets.batchnorm.averages import State, read_averages, write_averages
from nfnets.batchnorm.moments import Moments
from nfnets.errors import InputError
from nfnets.models.normalization import EPS

Params = Mapping[str, Mapping[str, Any]]


class Affine(NamedTuple):
  """`y = x * scale + offset`, in shapes that broadcast to the layer's."""

  scale: jax.Array
  offset: jax.Array


def affine_constants(params: Params, state: State, *, eps: float = EPS) -> dict[str, Affine]:
  """What each batch normalization module does in evaluation, by its path.

  `scale / sqrt(var + eps)` and `offset - mean * scale / sqrt(var + eps)` (Wu and Johnson 2021,
  section 4); a module without scale or offset has 1 or 0 there.

  Args:
    params: of the network.
    state: of the network.
    eps: of its modules; the default is also that of `hk.BatchNorm`.

  Raises:
    InputError: there is no batch normalization in the state.
  """
  constants = {}
  for path, (mean, variance) in read_averages(state).items():
    leaves = params.get(path, {})
    scale = leaves.get('scale', 1.0) * jax.lax.rsqrt(variance + eps)
    constants[path] = Affine(scale, leaves.get('offset', 0.0) - mean * scale)
  return constants


def absorb_statistics(
  params: Params, state: State, *, eps: float = EPS
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Parameters and a state of the same outputs in evaluation, all of whose statistics are trivial.

  Scales and offsets have taken them in: mean 0 and variance 1 - eps remain, by which nothing is
  changed.  With `frozen`, the network trains as one with plain affine layers.

  Raises:
    InputError: there is no batch normalization in the state, or a module has no scale and offset.
  """
  constants = affine_constants(params, state, eps=eps)
  new = {path: dict(leaves) for path, leaves in params.items()}
  for path, affine in constants.items():
    if not {'scale', 'offset'} <= new.get(path, {}).keys():
      raise InputError(f'params: {path} has no scale and offset to take its statistics in')
    new[path] |= affine._asdict()
  trivial = {
    path: Moments(jnp.zeros_like(mean), jnp.full_like(variance, 1 - eps))
    for path, (mean, variance) in read_averages(state).items()
  }
  return new, write_averages(state, trivial)
