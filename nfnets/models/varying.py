"""What differs between the devices of a `shard_map`, as JAX's types tell it."""

from typing import Any

import jax


def vary_alike(*arrays: jax.Array) -> tuple[jax.Array, ...]:
  """Inside of `shard_map`: each marked as different on different devices wherever another is."""
  everywhere = frozenset().union(*map(_varying, arrays))
  return tuple(_vary(array, everywhere - _varying(array)) for array in arrays)


def _vary(array: jax.Array, axes: frozenset[Any]) -> jax.Array:
  return jax.lax.pcast(array, tuple(axes), to='varying') if axes else array


def _varying(array: jax.Array) -> frozenset[Any]:
  mapped: Any = jax.typeof(array)
  return frozenset(mapped.manual_axis_type.varying)
