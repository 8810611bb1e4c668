"""What each family of networks plugs into the one body."""

import jax

from nfnets.models.activations import find_activation
from nfnets.models.blocks import NFBlock
from nfnets.models.initializers import Normal
from nfnets.models.layers import Mode, WSConv2D
from nfnets.models.residual import Family, Layer, ResidualNet
from nfnets.models.variants import Variant, find_variant

_QUAD_STEM_CHANNELS = (16, 32, 64)  # of all but the last convolution, whatever the network's width
_QUAD_STEM_STRIDES = (2, 1, 1, 2)


def _quad_stem_channels(variant: Variant) -> int:
  return variant.widths[0] // 2


# A free function, not a module or method: the convolutions must belong to the network's module.
def _quad_stem(variant: Variant) -> Layer:
  """Four 3x3 convolutions of total stride 4, activations between them but not behind the last."""
  activation = find_activation(variant.activation)
  channels = (*_QUAD_STEM_CHANNELS, _quad_stem_channels(variant))
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


def _wide_neck(variant: Variant) -> Layer:
  """A 1x1 convolution to twice the channels, then the activation."""
  activation = find_activation(variant.activation)
  conv = WSConv2D(2 * variant.widths[-1], 1, name='final_conv')

  def neck(x: jax.Array, mode: Mode) -> jax.Array:
    del mode
    return activation(conv(x))

  return neck


FAMILIES = {
  'nfnet': Family(
    root='NFNet',
    stem=_quad_stem,
    stem_channels=_quad_stem_channels,
    block=NFBlock,
    neck=_wide_neck,
    classifier_init=Normal(0.01),
  ),
}


class NFNet(ResidualNet):
  """An NFNet as a Haiku module, for use inside other networks (arXiv 2102.06171).

  Args:
    num_classes: outputs of the classifier; 0 for none.
    variant: name of a row of the zoo (`'nfnet_f0'`), its short form (`'F0'`), or a `Variant`.
    name: of the module; the released checkpoints have 'NFNet'.
  """

  def __init__(
    self, num_classes: int = 1000, variant: str | Variant = 'nfnet_f0', *, name: str | None = None
  ):
    if isinstance(variant, str):
      variant = find_variant(_full_name(variant))
    super().__init__(FAMILIES['nfnet'], variant, num_classes, name=name)


def _full_name(variant: str) -> str:
  """The zoo's name of a variant that papers call 'F0' or 'F0+'."""
  if variant.startswith('F'):
    return 'nfnet_' + variant.lower().replace('+', '_plus')
  return variant
