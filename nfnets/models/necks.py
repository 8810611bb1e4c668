"""The necks of the networks: the last block's output to what is pooled.

Free functions, not modules or methods: what they make must belong to the network's own module.
"""

import jax

from nfnets.models.activations import find_activation
from nfnets.models.layers import Layer, Mode, WSConv2D
from nfnets.models.normalization import BatchNorm
from nfnets.models.variants import Variant


def wide(variant: Variant) -> Layer:
  """A 1x1 convolution to twice the channels, then the activation."""
  return _conv_neck(2 * variant.widths[-1], variant)


def regnet(variant: Variant) -> Layer:
  """A 1x1 convolution to the share of channels that EfficientNets have there."""
  return _conv_neck(1280 * variant.widths[-1] // 440, variant)


def _conv_neck(channels: int, variant: Variant) -> Layer:
  activation = find_activation(variant.activation)
  conv = WSConv2D(channels, 1, name='final_conv')

  def neck(x: jax.Array, mode: Mode) -> jax.Array:
    del mode
    return activation(conv(x))

  return neck


def gamma(variant: Variant) -> Layer:
  """The gamma-scaled activation."""
  activation = find_activation(variant.activation)
  return lambda x, mode: activation(x)


def plain(variant: Variant) -> Layer:
  """The activation."""
  activation = find_activation(variant.activation).function
  return lambda x, mode: activation(x)


def batchnorm(variant: Variant) -> Layer:
  """Batch normalization, then the activation."""
  activation = find_activation(variant.activation).function
  norm = BatchNorm(name='final_bn')
  return lambda x, mode: activation(norm(x, mode))


def no(variant: Variant) -> Layer:
  """Nothing: the last block ends with its activation."""
  del variant
  return lambda x, mode: x
