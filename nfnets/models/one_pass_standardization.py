"""Scaled weight standardization and its gradient, each with one reading of the kernel for its sums.

The form of accelerators.  Written as a mean and a variance around it, the kernel is read for the
one, then for the other, and the gradient of that reads twice more.  Sums around the first input of
each unit, which is as good as the mean where the spread is not far smaller than the distance to it,
can be taken side by side.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


def standardize(kernel: jax.Array, gain: jax.Array, *, rule: Any) -> jax.Array:
  """See `Standardization`, which is the rule."""
  units = _measure(kernel, rule)
  factor = units.inverse * _scaled(gain, rule)
  return kernel * factor - units.mean * factor


def gradient(
  kernel: jax.Array, gain: jax.Array, cotangent: jax.Array, *, rule: Any
) -> tuple[jax.Array, jax.Array]:
  """By kernel and gain, of a gradient by the result.

  With `c` the kernel less its mean, `s` what its sum of squares is bounded to and `f = gain /
  sqrt(s)`, the result is `f * c`.  The mean of `c` is 0 whatever the kernel, so what `f` depends on
  moves by `2 c`, and the gradient is `f * (ct - mean(ct) - c * sum(ct * c) / s)`.
  """
  units, fan_in = _measure(kernel, rule), _fan_in(kernel)
  total = _sum(cotangent)
  along = _sum(cotangent * (kernel - units.first)) - units.offset * total
  factor = units.inverse * _scaled(gain, rule)
  moved = jnp.where(units.is_bound, 0, along * units.inverse**2)
  centred = kernel - units.first - units.offset
  by_kernel = factor * (cotangent - total / fan_in - centred * moved)
  return by_kernel, _scaled(along * units.inverse, rule).reshape(gain.shape)


class _Units(NamedTuple):
  """What is known of each unit, [..., 1, out]."""

  first: jax.Array
  """Its first input."""
  offset: jax.Array
  """The mean, less that."""
  inverse: jax.Array
  """Of the root of the sum of squares around the mean, as the rule bounds it."""
  is_bound: jax.Array
  """Whether the sum of squares does not exceed the bound, so that nothing depends on it."""

  @property
  def mean(self) -> jax.Array:
    return self.first + self.offset


def _measure(kernel: jax.Array, rule: Any) -> _Units:
  fan_in = _fan_in(kernel)
  first = kernel[(slice(0, 1),) * (kernel.ndim - 1)]
  from_first = kernel - first
  offset = _sum(from_first) / fan_in
  squares = jnp.maximum(_sum(from_first * from_first) - offset * offset * fan_in, 0)
  if rule.eps_is_added:
    bounded, is_bound = squares + rule.eps * fan_in, jnp.zeros_like(squares, bool)
  else:
    bounded, is_bound = jnp.maximum(squares, rule.eps), squares <= rule.eps
  return _Units(first, offset, jax.lax.rsqrt(bounded), is_bound)


def _sum(x: jax.Array) -> jax.Array:
  return jnp.sum(x, range(x.ndim - 1), keepdims=True)


def _fan_in(kernel: jax.Array) -> int:
  return kernel.size // kernel.shape[-1]


def _scaled(x: jax.Array, rule: Any) -> jax.Array:
  return x if rule.scale == 1 else x * rule.scale
