"""Sums over all arrays of a network, as one operation rather than one for each array."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

_ROWS = 8


def side_by_side(arrays: Sequence[jax.Array]) -> jax.Array:
  """The numbers of all of them as one vector; of float32, if there are none."""
  if not arrays:
    return jnp.zeros(0, jnp.float32)
  return jnp.concatenate([jnp.ravel(array) for array in arrays])


def total(numbers: jax.Array) -> jax.Array:
  """The sum of a vector, in its dtype; of flags, their number.

  Summed in a loop of a few rounds.  XLA takes the sum of what `side_by_side` made apart again, into
  sums of each array and a thousand additions, and on CPUs needs minutes to fuse these.
  """
  if numbers.dtype == jnp.bool_:
    numbers = numbers.astype(jnp.int32)
  rows = jnp.pad(numbers, (0, -len(numbers) % _ROWS)).reshape(_ROWS, -1)

  def add(so_far: jax.Array, row: jax.Array) -> tuple[jax.Array, None]:
    return so_far + jnp.sum(row, dtype=row.dtype), None

  return jax.lax.scan(add, jnp.zeros((), rows.dtype), rows)[0]
