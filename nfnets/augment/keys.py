"""Randomness that belongs to an example, not to the batch or the device it is in."""

import functools

import jax


def example_keys(key: jax.Array, positions: jax.Array) -> jax.Array:
  """[N] keys; the i-th is a function of `key` and `positions[i]` alone.

  Args:
    key: of the step.
    positions: [N] integers, each example's place in the global batch.
  """
  return jax.vmap(functools.partial(jax.random.fold_in, key))(positions)
