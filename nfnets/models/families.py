"""What each family of networks plugs into the one body."""

import dataclasses
import functools

import jax

from nfnets.errors import InputError
from nfnets.models import layers
from nfnets.models.activations import find_activation
from nfnets.models.blocks import BatchNormBlock, FixupBlock, PreactBlock, PreactDesign
from nfnets.models.initializers import Constant, Normal
from nfnets.models.layers import Mode, WSConv2D
from nfnets.models.normalization import BatchNorm
from nfnets.models.plan import Place
from nfnets.models.residual import Family, Layer, ResidualNet
from nfnets.models.variants import Variant, find_variant

# The parts below are free functions, not modules or methods: what they make must belong to the
# network's own module.

# --- stems: images to features -------------------------------------------------------------------

_QUAD_STEM_CHANNELS = (16, 32, 64)  # of all but the last convolution, whatever the network's width
_QUAD_STEM_STRIDES = (2, 1, 1, 2)


def _quad_stem(variant: Variant) -> Layer:
  """Four 3x3 convolutions of total stride 4, activations between them but not behind the last."""
  activation = find_activation(variant.activation)
  channels = (*_QUAD_STEM_CHANNELS, _half_of_first_stage(variant))
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


def _conv_stem(variant: Variant) -> Layer:
  """One strided 3x3 convolution."""
  conv = WSConv2D(_first_stage(variant), 3, stride=2, name='initial_conv')

  def stem(images: jax.Array, mode: Mode) -> jax.Array:
    del mode
    return conv(images)

  return stem


def _pooled_stem(variant: Variant) -> Layer:
  """A strided 7x7 convolution with standardized weights, then a strided 3x3 max-pool."""
  conv = WSConv2D(_quarter_of_first_stage(variant), 7, stride=2, name='initial_conv')

  def stem(images: jax.Array, mode: Mode) -> jax.Array:
    del mode
    return layers.max_pool(conv(images), 3, 2)

  return stem


def _plain_pooled_stem(variant: Variant) -> Layer:
  """A strided 7x7 convolution, then a strided 3x3 max-pool."""
  conv = _initial_conv(variant)

  def stem(images: jax.Array, mode: Mode) -> jax.Array:
    del mode
    return layers.max_pool(conv(images), 3, 2)

  return stem


def _batchnorm_pooled_stem(variant: Variant) -> Layer:
  """A strided 7x7 convolution, batch normalization, activation, then a strided 3x3 max-pool."""
  activation = find_activation(variant.activation).function
  conv, norm = _initial_conv(variant), BatchNorm(name='initial_bn')

  def stem(images: jax.Array, mode: Mode) -> jax.Array:
    return layers.max_pool(activation(norm(conv(images), mode)), 3, 2)

  return stem


def _fixup_pooled_stem(variant: Variant) -> Layer:
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
    _quarter_of_first_stage(variant), 7, stride=2, with_bias=False, name='initial_conv'
  )


def _half_of_first_stage(variant: Variant) -> int:
  return variant.widths[0] // 2


def _first_stage(variant: Variant) -> int:
  return variant.widths[0]


def _quarter_of_first_stage(variant: Variant) -> int:
  return variant.widths[0] // 4


# --- necks: the last block's output to what is pooled --------------------------------------------


def _wide_neck(variant: Variant) -> Layer:
  """A 1x1 convolution to twice the channels, then the activation."""
  return _conv_neck(2 * variant.widths[-1], variant)


def _regnet_neck(variant: Variant) -> Layer:
  """A 1x1 convolution to the share of channels that EfficientNets have there."""
  return _conv_neck(1280 * variant.widths[-1] // 440, variant)


def _conv_neck(channels: int, variant: Variant) -> Layer:
  activation = find_activation(variant.activation)
  conv = WSConv2D(channels, 1, name='final_conv')

  def neck(x: jax.Array, mode: Mode) -> jax.Array:
    del mode
    return activation(conv(x))

  return neck


def _gamma_neck(variant: Variant) -> Layer:
  """The gamma-scaled activation."""
  activation = find_activation(variant.activation)
  return lambda x, mode: activation(x)


def _plain_neck(variant: Variant) -> Layer:
  """The activation."""
  activation = find_activation(variant.activation).function
  return lambda x, mode: activation(x)


def _batchnorm_neck(variant: Variant) -> Layer:
  """Batch normalization, then the activation."""
  activation = find_activation(variant.activation).function
  norm = BatchNorm(name='final_bn')
  return lambda x, mode: activation(norm(x, mode))


def _no_neck(variant: Variant) -> Layer:
  """Nothing: the last block ends with its activation."""
  del variant
  return lambda x, mode: x


# --- blocks --------------------------------------------------------------------------------------


def _grouped(width: int, place: Place, variant: Variant) -> tuple[int, int]:
  """`width` rounded down to whole groups, and their number."""
  if variant.group_width is None:
    return width, 1
  groups = width // variant.group_width
  if groups == 0:
    raise InputError(
      f'group_width={variant.group_width} is more than the width {width} of block {place.index}, '
      f'which follows from bottleneck={variant.bottleneck}'
    )
  return variant.group_width * groups, groups


def _bottleneck(place: Place, variant: Variant) -> tuple[int, int]:
  return _grouped(int(place.out_channels * variant.bottleneck), place, variant)


def _expanded(place: Place, variant: Variant) -> tuple[int, int]:
  """NF-RegNet widens the input of a block, but for the first of the network."""
  expansion = variant.bottleneck if place.index else 1
  return _grouped(int(place.in_channels * expansion), place, variant)


_NFNET_BLOCK = PreactDesign(
  name='nf_block',
  inner_convs=('conv1', 'conv1b'),
  width=_bottleneck,
  pooled_shortcut=True,
)
_NF_REGNET_BLOCK = PreactDesign(
  name='nf_block', width=_expanded, pooled_shortcut=True, inner_se=True
)
_NF_RESNET_BLOCK = PreactDesign(name='nf_res_block', width=_bottleneck, pooled_shortcut=False)
_SKIPINIT_BLOCK = dataclasses.replace(_NF_RESNET_BLOCK, standardized=False)

# --- the families --------------------------------------------------------------------------------

FAMILIES = {
  'nfnet': Family(
    root='NFNet',
    stem=_quad_stem,
    stem_channels=_half_of_first_stage,
    block=functools.partial(PreactBlock, _NFNET_BLOCK),
    neck=_wide_neck,
    classifier_init=Normal(0.01),
  ),
  'nf_regnet': Family(
    root='NF_RegNet',
    stem=_conv_stem,
    stem_channels=_first_stage,
    block=functools.partial(PreactBlock, _NF_REGNET_BLOCK),
    neck=_regnet_neck,
    classifier_init=Constant(0.0),
  ),
  'nf_resnet': Family(
    root='NF_ResNet',
    stem=_pooled_stem,
    stem_channels=_quarter_of_first_stage,
    block=functools.partial(PreactBlock, _NF_RESNET_BLOCK),
    neck=_gamma_neck,
    classifier_init=Normal(0.01),
  ),
  'resnet': Family(
    root='ResNet',
    stem=_plain_pooled_stem,
    stem_channels=_quarter_of_first_stage,
    block=functools.partial(BatchNormBlock, preactivation=True),
    neck=_batchnorm_neck,
    classifier_init=Constant(0.0),
    tracks_variance=False,
  ),
  'resnet_v1': Family(
    root='ResNet',
    stem=_batchnorm_pooled_stem,
    stem_channels=_quarter_of_first_stage,
    block=functools.partial(BatchNormBlock, preactivation=False),
    neck=_no_neck,
    classifier_init=Constant(0.0),
    tracks_variance=False,
  ),
  'skipinit_resnet': Family(
    root='SkipInit_ResNet',
    stem=_plain_pooled_stem,
    stem_channels=_quarter_of_first_stage,
    block=functools.partial(PreactBlock, _SKIPINIT_BLOCK),
    neck=_plain_neck,
    classifier_init=Constant(0.0),
    tracks_variance=False,
  ),
  'fixup_resnet': Family(
    root='FixUp_ResNet',
    stem=_fixup_pooled_stem,
    stem_channels=_quarter_of_first_stage,
    block=FixupBlock,
    neck=_no_neck,
    classifier_init=Constant(0.0),
    tracks_variance=False,
    classifier_bias='bias2',
  ),
}

# --- the families as Haiku modules, for use inside other networks --------------------------------


class _FamilyNet(ResidualNet):
  """A network of one family.

  Args:
    num_classes: outputs of the classifier; 0 for none.
    variant: name of a row of the zoo, or a `Variant`.
    name: of the module; by default that of the released checkpoints.
  """

  family: str

  def __init__(self, num_classes: int, variant: str | Variant, *, name: str | None = None):
    row = find_variant(variant) if isinstance(variant, str) else variant
    if row.family != self.family:
      raise InputError(f'variant={variant!r} is of the family {row.family}, not {self.family}')
    super().__init__(FAMILIES[self.family], row, num_classes, name=name)


class NFNet(_FamilyNet):
  """NFNet-F0 to F7 and plus (Brock et al. 2021, arXiv 2102.06171).

  `variant` may also be the papers' short form: 'F0', 'F0+'.
  """

  family = 'nfnet'

  def __init__(
    self, num_classes: int = 1000, variant: str | Variant = 'nfnet_f0', *, name: str | None = None
  ):
    if isinstance(variant, str) and variant.startswith('F'):
      variant = 'nfnet_' + variant.lower().replace('+', '_plus')
    super().__init__(num_classes, variant, name=name)


class NFRegNet(_FamilyNet):
  """NF-RegNet B0 to B8 (Brock et al. 2021, arXiv 2101.08692)."""

  family = 'nf_regnet'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'nf_regnet_b0',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)


class NFResNet(_FamilyNet):
  """NF-ResNet 50 to 600 (Brock et al. 2021, arXiv 2101.08692)."""

  family = 'nf_resnet'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'nf_resnet50',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)


class ResNet(_FamilyNet):
  """Pre-activation BatchNorm ResNet 50 to 600 (He et al. 2016, arXiv 1603.05027)."""

  family = 'resnet'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'resnet50',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)


class ResNetV1(_FamilyNet):
  """Post-activation BatchNorm ResNet 50 to 600 (He et al. 2015, arXiv 1512.03385)."""

  family = 'resnet_v1'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'resnet50_v1',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)


class SkipInitResNet(_FamilyNet):
  """SkipInit ResNet 50 to 600 (De and Smith 2020, arXiv 2002.10444)."""

  family = 'skipinit_resnet'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'skipinit_resnet50',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)


class FixupResNet(_FamilyNet):
  """Fixup ResNet 50 to 600 (Zhang et al. 2019, arXiv 1901.09321)."""

  family = 'fixup_resnet'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'fixup_resnet50',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)
