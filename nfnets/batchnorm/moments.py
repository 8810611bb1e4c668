"""Means and variances of a batch: over all of it, over groups of its examples, over devices."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nfnets.errors import InputError

Axes = tuple[int, ...]
"""The dimensions of a batch that statistics are taken over."""


class Moments(NamedTuple):
  """What a batch is normalized by, in float32, in shapes that broadcast to the batch's."""

  mean: jax.Array
  variance: jax.Array
  """Biased: the mean of squares, not divided by one less."""


Statistics = Callable[[jax.Array, Axes], Moments]
"""(batch [N, ...], axes) -> the moments that normalize it."""


def of_batch(x: jax.Array, axes: Axes) -> Moments:
  """Of all examples together: what batch normalization is by definition (section 2)."""
  x = x.astype(jnp.float32)
  mean = jnp.mean(x, axes, keepdims=True)
  return Moments(mean, jnp.mean(jnp.square(x - mean), axes, keepdims=True))


def of_groups(x: jax.Array, axes: Axes, *, size: int) -> Moments:
  """Of every `size` examples in a row by themselves; a row of the moments for each example.

  Raises:
    InputError: the examples are no whole number of such groups.
  """
  if 0 not in axes:
    return of_batch(x, axes)  # every example is normalized by itself anyway
  if len(x) % size:
    raise InputError(f'size={size} must divide the {len(x)} examples of a batch')
  groups = x.reshape(len(x) // size, size, *x.shape[1:])
  moments = of_batch(groups, tuple(axis + 1 for axis in axes))
  return Moments(*(jnp.repeat(value[:, 0], size, axis=0) for value in moments))


def of_replicas(
  x: jax.Array, axes: Axes, *, axis: str, groups: Sequence[Sequence[int]] | None = None
) -> Moments:
  """Of the batches of all devices of a named axis together, or of each group of devices.

  All devices have as many examples.  What is averaged are the two moments, so that the variance is
  that of the joint batch and not the mean of the devices' variances.
  """

  def over_devices(value: jax.Array) -> jax.Array:
    return jax.lax.pmean(value, axis, axis_index_groups=groups)

  x = x.astype(jnp.float32)
  mean = over_devices(jnp.mean(x, axes, keepdims=True))
  return Moments(mean, over_devices(jnp.mean(jnp.square(x - mean), axes, keepdims=True)))


def averaged(moments: Moments, axes: Axes) -> Moments:
  """The mean of the groups' moments: what moving averages take in from a batch of groups."""
  if 0 not in axes:
    return moments
  return Moments(*(jnp.mean(value, 0, keepdims=True) for value in moments))
