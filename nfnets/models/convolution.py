"""How a convolution is computed: one function, the same result on every platform."""

import jax
from jax import lax


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1, groups: int = 1) -> jax.Array:
  """Convolves `x` [N, H, W, C] with `kernel` [h, w, C / groups, out], padded 'SAME'.

  'SAME' is asymmetric where the stride does not divide the size, as in TensorFlow and Haiku.

  Returns:
    [N, ceil(H / stride), ceil(W / stride), out], in the dtype of `x`.
  """
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding='SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )
