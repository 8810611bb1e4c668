"""The stems of the networks: images to features.

Free functions, not modules or methods: what they make must belong to the network's own module.
"""

import jax

from nfnets.models import layers
from nfnets.models.activations import find_activation
from nfnets.models.layers import Layer, Mode, WSConv2D
from nfnets.models.normalization import BatchNorm
from nfnets.models.variants import Variant

_QUAD_STEM_CHANNELS = (16, 32, 64)  # of all but the last convolution, whatever the network's width
_QUAD_STEM_STRIDES = (2, 1, 1, 2)


def quad(variant: Variant) -> Layer:
  """Four 3x3 convolutions of total stride 4, activations between them but not behind the last."""
  activation = find_activation(variant.activation)
  channels = (*_QUAD_STEM_CHANNELS, half_of_first_stage(variant))
  first, *rest = (
    WSConv2D(out, 3, stride=stride, name=f'stem_conv{i}')
    for i, (out, stride) in enumerate(zip(channels, _QUAD_STEM_STRIDES, strict=True))
  )

  def stem(images: jax.Array, mode: Mode) -> jax.Array:
    del mode
    x = first(images)
    for conv in rest:
      x = conv(activation(x))
    return x

  return stem


def single(variant: Variant) -> Layer:
  """One strided 3x3 convolution."""
  conv = WSConv2D(first_stage(variant), 3, stride=2, name='initial_conv')

  def stem(images: jax.Array, mode: Mode) -> jax.Array:
    del mode
    return conv(images)

  return stem


def pooled(variant: Variant) -> Layer:
  """A strided 7x7 convolution with standardized weights, then a strided 3x3 max-pool."""
  conv = WSConv2D(quarter_of_first_stage(variant), 7, stride=2, name='initial_conv')

  def stem(images: jax.Array, mode: Mode) -> jax.Array:
    del mode
    return layers.max_pool(conv(images), 3, 2)

  return stem


def plain_pooled(variant: Variant) -> Layer:
  """A strided 7x7 convolution, then a strided 3x3 max-pool."""
  conv = _initial_conv(variant)

  def stem(images: jax.Array, mode: Mode) -> jax.Array:
    del mode
    return layers.max_pool(conv(images), 3, 2)

  return stem


def batchnorm_pooled(variant: Variant) -> Layer:
  """A strided 7x7 convolution, batch normalization, activation, then a strided 3x3 max-pool."""
  activation = find_activation(variant.activation).function
  conv, norm = _initial_conv(variant), BatchNorm(name='initial_bn')

  def stem(images: jax.Array, mode: Mode) -> jax.Array:
    return layers.max_pool(activation(norm(conv(images), mode)), 3, 2)

  return stem


def fixup_pooled(variant: Variant) -> Layer:
  """A strided 7x7 convolution, a bias of one number, activation, then a strided 3x3 max-pool."""
  activation = find_activation(variant.activation).function
  conv = _initial_conv(variant)

  def stem(images: jax.Array, mode: Mode) -> jax.Array:
    del mode
    y = conv(images)
    return layers.max_pool(activation(y + layers.scalar('bias1', y)), 3, 2)

  return stem


def _initial_conv(variant: Variant) -> layers.Conv2D:
  return layers.Conv2D(
    quarter_of_first_stage(variant), 7, stride=2, with_bias=False, name='initial_conv'
  )


def half_of_first_stage(variant: Variant) -> int:
  """Channels behind the stem of NFNets."""
  return variant.widths[0] // 2


def first_stage(variant: Variant) -> int:
  """Channels behind the stem of NF-RegNets."""
  return variant.widths[0]


def quarter_of_first_stage(variant: Variant) -> int:
  """Channels behind the stem of the ResNets."""
  return variant.widths[0] // 4
