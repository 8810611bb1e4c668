"""The form that GPUs are given of a strided convolution's gradient by its image, in groups.

For one group it is a kernel of cuDNN.  For several, XLA spreads the cotangent over an image full of
zeros and convolves that: with stride 2, four times the operations and the memory.  Here each pixel
of the cotangent makes the block of pixels that it stands for, and blocks are put side by side.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from nfnets.models import direct_convolution
from nfnets.models.windows import Window


def input_gradient(cotangent: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
  """See `direct_convolution.input_gradient`."""
  if window.groups == 1 or window.stride == 1:
    return direct_convolution.input_gradient(cotangent, kernel, window=window)
  stride, groups = window.stride, window.groups
  rows, columns = (
    _reach(size, before, stride)
    for size, (before, _) in zip(window.kernel, window.padding, strict=True)
  )
  blocks = lax.conv_general_dilated(
    cotangent,
    _of_blocks(kernel, rows, columns, groups),
    window_strides=(1, 1),
    padding=[(-reach.first, reach.last) for reach in (rows, columns)],
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )
  n, height, width, _ = blocks.shape
  cut = blocks.reshape(n, height, width, groups, stride, stride, -1)
  image = cut.transpose(0, 1, 4, 2, 5, 3, 6).reshape(n, height * stride, width * stride, -1)
  return image[:, : window.image[0], : window.image[1]]


class _Reach(NamedTuple):
  """Along one axis: the rows of the cotangent that the block in a row depends on.

  Row `stride * q + r` of the image meets row `k` of the kernel in row `q + m` of the result, where
  `k = r + before - stride * m`; `before` rows of zeros come before the image.
  """

  first: int
  """The least `m`."""
  last: int
  """The greatest."""
  margins: tuple[int, int]
  """Zeros before and behind the kernel, with which every row of a block meets as many of it."""

  @property
  def length(self) -> int:
    return self.last - self.first + 1


def _reach(size: int, before: int, stride: int) -> _Reach:
  first, last = -((size - 1 - before) // stride), (stride - 1 + before) // stride
  missing = stride * last - before
  return _Reach(first, last, (missing, stride * (last - first + 1) - size - missing))


def _of_blocks(kernel: jax.Array, rows: _Reach, columns: _Reach, groups: int) -> jax.Array:
  """A kernel [h, w, C / groups, out] -> [rows, columns, out / groups, stride * stride * C]."""
  _, _, channels, out = kernel.shape
  padded = jnp.pad(kernel, [rows.margins, columns.margins, (0, 0), (0, 0)])
  cut = padded.reshape(rows.length, -1, columns.length, padded.shape[1] // columns.length, channels,
                       groups, out // groups)  # fmt: skip
  turned = cut[::-1, :, ::-1].transpose(0, 2, 6, 5, 1, 3, 4)
  return turned.reshape(rows.length, columns.length, out // groups, -1)
