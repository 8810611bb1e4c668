"""Pixels to what a network is fed."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

_LUMINANCE = (0.299, 0.587, 0.114)
"""How much red, green and blue add to the brightness of a pixel (ITU-R BT.601)."""


def normalize(
  images: jax.Array,
  mean: Sequence[float],
  std: Sequence[float],
  dtype: jax.typing.DTypeLike,
  *,
  grey: bool = False,
) -> jax.Array:
  """`(images - mean) / std` by channel, computed in float32 and returned in `dtype`.

  Args:
    images: [N, H, W, C] pixels, 0 to 255, of any dtype.
    mean: of each channel, in pixel units.
    std: of each channel, in pixel units.
    dtype: of the result: what the network computes in.
    grey: replace red, green and blue by their luminance, and `mean` and `std` by the same mixture.

  Returns:
    [N, H, W, C], or [N, H, W, 1] if `grey`.
  """
  pixels, middle, spread = images.astype(jnp.float32), jnp.asarray(mean), jnp.asarray(std)
  if grey:
    pixels, middle, spread = _luminance(pixels), _luminance(middle), _luminance(spread)
  return ((pixels - middle) / spread).astype(dtype)


def _luminance(colours: jax.Array) -> jax.Array:
  """[..., 3] -> [..., 1]."""
  # Not a matrix product, which accelerators round.
  return jnp.sum(colours * jnp.asarray(_LUMINANCE), axis=-1, keepdims=True)
