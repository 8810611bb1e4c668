"""How a convolution is computed: one function, the same result on every platform.

XLA's CPU backend has no fast kernel for grouped convolutions, least of all for their gradients, and
computes 1x1 convolutions more slowly than the matrix products they are.  So the form is chosen when
the computation is lowered for a platform, not when this module is imported.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

CONVOLUTION = 'convolution'
"""What rematerialization policies call the result of every convolution."""

_Padding = str | list[tuple[int, int]]


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: int = 1,
  groups: int = 1,
  symmetric_padding: bool = False,
) -> jax.Array:
  """Convolves `x` [N, H, W, C] with `kernel` [h, w, C / groups, out] of odd height and width.

  The padding is 'SAME': asymmetric where the stride does not divide the size, as in TensorFlow and
  Haiku; or `h // 2` above and below, `w // 2` left and right, as in PyTorch.

  Returns:
    [N, ceil(H / stride), ceil(W / stride), out], in the dtype of `x`.
  """
  padding = [(side // 2, side // 2) for side in kernel.shape[:2]] if symmetric_padding else 'SAME'
  result = _by_platform(x, kernel, stride=stride, groups=groups, padding=padding)
  return checkpoint_name(result, CONVOLUTION)


def _by_platform(
  x: jax.Array, kernel: jax.Array, *, stride: int, groups: int, padding: _Padding
) -> jax.Array:
  direct = functools.partial(_direct, stride=stride, groups=groups, padding=padding)
  if groups > 1:
    return lax.platform_dependent(
      x,
      kernel,
      cpu=functools.partial(_group_by_group, stride=stride, groups=groups, padding=padding),
      default=direct,
    )
  if kernel.shape[:2] == (1, 1) and stride == 1:
    return lax.platform_dependent(x, kernel, cpu=_pointwise, default=direct)
  return direct(x, kernel)


def _direct(
  x: jax.Array, kernel: jax.Array, *, stride: int, groups: int = 1, padding: _Padding
) -> jax.Array:
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding=padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


def _group_by_group(
  x: jax.Array, kernel: jax.Array, *, stride: int, groups: int, padding: _Padding
) -> jax.Array:
  """One ordinary convolution for each group, side by side."""
  parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
  convolved = [_direct(part, k, stride=stride, padding=padding) for part, k in parts]
  return jnp.concatenate(convolved, axis=-1)


def _pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A 1x1 convolution as the matrix product that it is."""
  return jnp.einsum('nhwc,cd->nhwd', x, kernel[0, 0])
