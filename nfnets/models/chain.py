"""Convolutions one behind the other, in the form that suits a platform: the same result everywhere.

A TPU keeps channels in rows of 128.  What has 16, 32 or 64 of them takes there as much memory and
time as what has 128.  So it computes the first layers of a network in blocks of pixels: a block
becomes one pixel with the channels of all, and a kernel one between blocks, most of which is zeros.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from nfnets.models.activated_convolution import convolve_activated
from nfnets.models.convolution import convolve


@dataclasses.dataclass(frozen=True)
class Convolution:
  """What a convolution is given beside its input."""

  kernel: jax.Array
  """[size, size, in, out], of odd size."""
  bias: jax.Array
  """[out]."""
  stride: int
  symmetric_padding: bool
  """As in `convolve`."""

  @property
  def padding(self) -> int:
    """Rows above an image whose height the stride divides, and columns to the left."""
    size = self.kernel.shape[0]
    return size // 2 if self.symmetric_padding else max(0, size - self.stride) // 2


jax.tree_util.register_dataclass(
  Convolution, data_fields=['kernel', 'bias'], meta_fields=['stride', 'symmetric_padding']
)

_Chain = Sequence[Convolution]
_Activation = Callable[[jax.Array], jax.Array]


def convolve_chain(x: jax.Array, chain: _Chain, activation: _Activation) -> jax.Array:
  """Convolutions with activations between them, but not behind the last.

  Args:
    x: [N, H, W, C].
    chain: in the dtype of `x`.
    activation: elementwise.

  Returns:
    [N, ceil(H / s), ceil(W / s), out], where s is the product of the strides.
  """
  plain = functools.partial(_one_by_one, activation=activation)
  block = math.prod(conv.stride for conv in chain)
  if x.shape[1] % block or x.shape[2] % block:
    return plain(x, chain)
  blocks = functools.partial(in_blocks, activation=activation)
  return lax.platform_dependent(x, chain, tpu=blocks, default=plain)


def _one_by_one(x: jax.Array, chain: _Chain, *, activation: _Activation) -> jax.Array:
  *others, last = chain
  for conv in others:
    x = convolve_activated(
      x,
      conv.kernel,
      conv.bias,
      activation,
      stride=conv.stride,
      symmetric_padding=conv.symmetric_padding,
    )
  y = convolve(x, last.kernel, stride=last.stride, symmetric_padding=last.symmetric_padding)
  return y + last.bias


def in_blocks(x: jax.Array, chain: _Chain, *, activation: _Activation) -> jax.Array:
  """`convolve_chain` in blocks, which the last strides have left one pixel of."""
  block = math.prod(conv.stride for conv in chain)
  x = _to_blocks(x, block)
  for number, conv in enumerate(chain):
    x = _convolve_blocks(activation(x) if number else x, conv, block)
    block //= conv.stride
  return x


def _to_blocks(x: jax.Array, size: int) -> jax.Array:
  """[N, H, W, C] -> [N, H / size, W / size, size * size * C]."""
  n, height, width, channels = x.shape
  cut = x.reshape(n, height // size, size, width // size, size, channels)
  return cut.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // size, width // size, -1)


def _convolve_blocks(x: jax.Array, conv: Convolution, block: int) -> jax.Array:
  """The convolution of an image in blocks: those of the result are smaller by the stride.

  [N, H, W, block * block * in] -> [N, H, W, b * b * out], where b is `block / stride`.
  """
  kernel, before, behind = _between_blocks(conv, block)
  result = lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1, 1),
    padding=[(before, behind)] * 2,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
  return result + jnp.tile(conv.bias, (block // conv.stride) ** 2)


def _between_blocks(conv: Convolution, block: int) -> tuple[jax.Array, int, int]:
  """A kernel [k, k, block * block * in, b * b * out], and the blocks it reaches back and forth."""
  size, _, channels, out = conv.kernel.shape
  made = block // conv.stride
  before = -(-conv.padding // block)
  behind = max(0, conv.stride * (made - 1) + size - 1 - conv.padding) // block
  reach = before + 1 + behind

  def placed(row: int, column: int) -> jax.Array:
    """The kernel that makes this pixel of a block, within the pixels of all blocks in reach."""
    margins = []
    for pixel in (row, column):
      first = before * block + conv.stride * pixel - conv.padding
      margins.append((first, reach * block - first - size))
    return jnp.pad(conv.kernel, [*margins, (0, 0), (0, 0)])

  pixels = jnp.stack([placed(row, column) for row in range(made) for column in range(made)])
  cut = pixels.reshape(made * made, reach, block, reach, block, channels, out)
  kernel = cut.transpose(1, 3, 2, 4, 5, 0, 6)
  return kernel.reshape(reach, reach, block * block * channels, made * made * out), before, behind
