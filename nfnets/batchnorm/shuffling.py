"""Examples shuffled over devices or ghost batches, so that what is normalized together is random.

Wu and Johnson 2021, section 6: where the examples of a normalization batch are alike, a network
learns to read from its statistics what it should read from the example.  Shuffle in front of the
layers in question and undo it behind them; in evaluation by population statistics nothing leaks,
and nothing need be shuffled.
"""

import jax
import jax.numpy as jnp


def shuffle(x: jax.Array, key: jax.Array, *, axis: str | None = None) -> jax.Array:
  """[N, ...] -> [N, ...]: this device's part of all examples in a random order.

  Args:
    x: the examples of this device; all devices have as many.
    key: the same on all devices; every order of all examples is as likely.
    axis: name of the mapped axis of the devices; None to shuffle those of `x` among themselves, for
      the groups of `ghost`.
  """
  everything = _gather(x, axis)
  return _part(everything[_order(everything, key)], x, axis)


def unshuffle(x: jax.Array, key: jax.Array, *, axis: str | None = None) -> jax.Array:
  """Undoes `shuffle` of the same key: every example goes back to its device and its place."""
  everything = _gather(x, axis)
  return _part(everything[jnp.argsort(_order(everything, key))], x, axis)


def _order(everything: jax.Array, key: jax.Array) -> jax.Array:
  return jax.random.permutation(key, len(everything))


def _gather(x: jax.Array, axis: str | None) -> jax.Array:
  return x if axis is None else jax.lax.all_gather(x, axis, tiled=True)


def _part(everything: jax.Array, like: jax.Array, axis: str | None) -> jax.Array:
  if axis is None:
    return everything
  first = jax.lax.axis_index(axis) * len(like)
  return jax.lax.dynamic_slice_in_dim(everything, first, len(like))
