"""Pixels to what a network is fed."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def normalize(
  images: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: jax.typing.DTypeLike
) -> jax.Array:
  """`(images - mean) / std` by channel, computed in float32 and returned in `dtype`.

  Args:
    images: [N, H, W, C] pixels, 0 to 255, of any dtype.
    mean: of each channel, in pixel units.
    std: of each channel, in pixel units.
    dtype: of the result: what the network computes in.
  """
  pixels = images.astype(jnp.float32)
  return ((pixels - jnp.asarray(mean)) / jnp.asarray(std)).astype(dtype)
