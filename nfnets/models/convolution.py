"""How a convolution is computed: one function, the same result on every platform.

XLA's CPU backend has no fast kernel for grouped convolutions, least of all for their gradients, and
computes 1x1 convolutions more slowly than the matrix products they are.  So the form is chosen when
the computation is lowered for a platform, not when this module is imported.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1, groups: int = 1) -> jax.Array:
  """Convolves `x` [N, H, W, C] with `kernel` [h, w, C / groups, out], padded 'SAME'.

  'SAME' is asymmetric where the stride does not divide the size, as in TensorFlow and Haiku.

  Returns:
    [N, ceil(H / stride), ceil(W / stride), out], in the dtype of `x`.
  """
  direct = functools.partial(_direct, stride=stride, groups=groups)
  if groups > 1:
    return lax.platform_dependent(
      x,
      kernel,
      cpu=functools.partial(_group_by_group, stride=stride, groups=groups),
      default=direct,
    )
  if kernel.shape[:2] == (1, 1) and stride == 1:
    return lax.platform_dependent(x, kernel, cpu=_pointwise, default=direct)
  return direct(x, kernel)


def _direct(x: jax.Array, kernel: jax.Array, *, stride: int, groups: int = 1) -> jax.Array:
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding='SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


def _group_by_group(x: jax.Array, kernel: jax.Array, *, stride: int, groups: int) -> jax.Array:
  """One ordinary convolution for each group, side by side."""
  parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
  return jnp.concatenate([_direct(part, k, stride=stride) for part, k in parts], axis=-1)


def _pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A 1x1 convolution as the matrix product that it is."""
  return jnp.einsum('nhwc,cd->nhwd', x, kernel[0, 0])
