"""One step of `sgd_agc` for all parameters at once, in the kernels of `nfnets.native`.

An array of a network is small beside what it costs to begin with it: XLA has thousands of
operations for all of them, and reads most arrays more than once (docs/results/kernels.md).
"""

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from nfnets.optim.norms import unit_axes

Arrays = Sequence[jax.Array]

_AT_ONCE = 64
"""Parameters in a call.  XLA takes time to compile it that grows with the cube of their number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
  """What `sgd_agc` is told, where AGC clips output units: the same for all steps."""

  momentum: float
  nesterov: bool
  weight_decay: float
  clipping: float | None
  clip_eps: float
  layer_decay: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traits:
  """What is one parameter's own."""

  units: int
  """Of how many units AGC takes the norm; see `count_units`."""
  clipped: bool
  decayed: bool
  rate: float = 1.0
  """By which its learning rate is multiplied."""


def count_units(x: jax.Array) -> int:
  """The units of a parameter: its outputs, or one where all of it is one."""
  return 1 if unit_axes(x) is None else x.shape[-1]


def serves(arrays: Arrays) -> bool:
  """Whether there are kernels for these: float32, none of them empty."""
  return all(x.dtype == jnp.float32 and x.size for x in arrays)


def sum_squares(arrays: Arrays) -> tuple[jax.Array, jax.Array]:
  """The sum of squares of every unit, and of all numbers.

  Returns:
    A vector, the units of each array behind those of the one before; and a scalar.
  """
  units = [count_units(x) for x in arrays]
  shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((sum(units),), ())]
  of_units, of_all = jax.ffi.ffi_call('nfnets_sum_squares', shapes)(
    *arrays, units=np.array(units, np.int64)
  )
  return of_units, of_all


def update(
  rule: Rule,
  traits: Sequence[Traits],
  *,
  wanted: jax.Array,
  learning_rate: jax.Array,
  ema_step: jax.Array,
  gradients: Arrays,
  params: Arrays,
  momentum: Arrays,
  ema: Arrays,
  gradient_squares: jax.Array,
  param_squares: jax.Array,
) -> tuple[Arrays, Arrays, Arrays]:
  """New parameters, momentum and averages, in the memory of the old ones where nobody reads these.

  Args:
    rule: of the optimizer.
    traits: of each parameter.
    wanted: a flag; without it, all stay as they are.
    learning_rate: in this step.
    ema_step: the share of the new parameters in their average.
    gradients: before clipping.
    params: the parameters.
    momentum: as `optax.trace` keeps it.
    ema: the averages.
    gradient_squares: of each unit of the gradients; see `sum_squares`.
    param_squares: of each unit of the parameters.
  """
  common = wanted, jnp.stack([learning_rate, ema_step]), gradient_squares, param_squares
  first = np.cumsum([0, *(each.units for each in traits)])
  parts = []
  for begin in range(0, len(params), _AT_ONCE):
    some = slice(begin, begin + _AT_ONCE)
    old = [list(arrays[some]) for arrays in (gradients, params, momentum, ema)]
    parts.append(_update(rule, traits[some], int(first[begin]), common, old))
  new_params, new_momentum, new_ema = (list(itertools.chain(*x)) for x in zip(*parts, strict=True))
  return new_params, new_momentum, new_ema


def _update(
  rule: Rule,
  traits: Sequence[Traits],
  first: int,
  common: Sequence[jax.Array],
  old: Sequence[list[jax.Array]],
) -> Sequence[Arrays]:
  """For some of the parameters, the units of which begin at `first`."""
  gradients, *kept = old
  n, flat = len(gradients), list(itertools.chain(*kept))
  before = len(common) + n
  call = jax.ffi.ffi_call(
    'nfnets_update',
    [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in flat],
    input_output_aliases={before + i: i for i in range(len(flat))},
  )
  new = call(
    *common,
    *gradients,
    *flat,
    first=np.int64(first),
    units=np.array([each.units for each in traits], np.int64),
    clipped=np.array([each.clipped for each in traits], np.int64),
    decayed=np.array([each.decayed for each in traits], np.int64),
    scales=np.array([each.rate for each in traits], np.float32),
    clipping=np.float32(rule.clipping or 0),
    eps=np.float32(rule.clip_eps),
    decay=np.float32(rule.weight_decay),
    momentum=np.float32(rule.momentum),
    nesterov=rule.nesterov,
  )
  return new[:n], new[n : 2 * n], new[2 * n :]
