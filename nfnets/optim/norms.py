"""Norms of parameters and gradients, in float32 at least."""

from typing import Any

import jax
import jax.numpy as jnp

from nfnets.optim.totals import side_by_side, total


def unit_axes(x: jax.Array) -> tuple[int, ...] | None:
  """The axes within an output unit of a kernel [..., in, out]; None where all of it is one unit.

  That is so of scalars, vectors and kernels with at most one axis longer than 1.
  """
  is_kernel = sum(size != 1 for size in x.shape) > 1
  return tuple(range(x.ndim - 1)) if is_kernel else None


def squares(x: jax.Array, axes: tuple[int, ...] | None = None) -> jax.Array:
  """The sum of squares over these axes, which stay with size 1; by default over all."""
  exact = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  return jnp.sum(jnp.square(exact), axis=axes, keepdims=True)


def tree_squares(tree: Any) -> jax.Array:
  """The sum of the squares of all numbers of all arrays, a scalar.

  Summed unit by unit first, as for adaptive gradient clipping: beside that in one `jit` the arrays
  are read only once.
  """
  return total(side_by_side([squares(x, unit_axes(x)) for x in jax.tree.leaves(tree)]))


def tree_norm(tree: Any) -> jax.Array:
  """The norm of all numbers of all arrays, a scalar."""
  return jnp.sqrt(tree_squares(tree))
