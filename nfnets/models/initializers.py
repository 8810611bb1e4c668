"""First values of single parameters, as Haiku takes them: callables (shape, dtype) -> array."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

_TRUNCATED_AT = 2.0  # standard deviations


@dataclasses.dataclass(frozen=True)
class Constant:
  """The same number everywhere."""

  value: float

  def __call__(self, shape: Sequence[int], dtype: Any) -> jax.Array:
    """The parameter; nothing is compiled for it."""
    return jnp.array(np.full(shape, self.value, dtype))


@dataclasses.dataclass(frozen=True)
class Normal:
  """Normal numbers of mean 0.

  A dataclass rather than a closure, so that `initialize` can draw many parameters in one go.
  """

  stddev: float | None = None
  """`gain * fan_in**-0.5` where None; the fan-in is the product of all dimensions but the last."""
  gain: float = 1.0
  """Scales the default `stddev`."""
  truncated: bool = False
  """Cut at two standard deviations; `stddev` is that of the uncut distribution."""

  def scale(self, shape: Sequence[int]) -> float:
    """The standard deviation for a parameter of this shape."""
    if self.stddev is not None:
      return self.stddev
    return self.gain * max(1, math.prod(shape[:-1])) ** -0.5

  @property
  def limit(self) -> float:
    """Probability of what is not cut: a uniform number in (-limit, limit) becomes a normal one."""
    return math.erf(_TRUNCATED_AT / math.sqrt(2)) if self.truncated else 1.0

  def __call__(self, shape: Sequence[int], dtype: Any) -> jax.Array:
    """Draws a parameter with Haiku's next key."""
    lowest = -self.limit * (1 - 2.0**-24)
    uniform = jax.random.uniform(hk.next_rng_key(), shape, minval=lowest, maxval=self.limit)
    return (jax.lax.erf_inv(uniform) * math.sqrt(2) * self.scale(shape)).astype(dtype)
