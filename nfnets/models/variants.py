"""Every network of the zoo, one row each: numbers only, no JAX.

NFNet: depths, widths, sizes and dropout rates of Table 1 of "High-Performance Large-Scale Image
Recognition Without Normalization" (Brock et al. 2021, arXiv 2102.06171); the plus variants are
those of its Table 5, grouped as in the released code.

NF-RegNet and NF-ResNet: "Characterizing signal propagation to close the performance gap in
unnormalized ResNets" (Brock et al. 2021, arXiv 2101.08692), with the numbers of the released code.
The baselines share the depths of NF-ResNet: BatchNorm before (He et al. 2016, arXiv 1603.05027) and
behind the convolutions (arXiv 1512.03385), SkipInit (De and Smith 2020, arXiv 2002.10444) and Fixup
(Zhang et al. 2019, arXiv 1901.09321).

Wide ResNets (Zagoruyko and Komodakis 2016, arXiv 1605.07146) in the sizes and schemes of De and
Smith 2020 (arXiv 2002.10444): `wide_resnet_16_4` has 16 layers and is 4 times as wide.

The networks that PyTorch Image Models (timm) trained: the light NFNet-L, with efficient channel
attention those called ECA, and its own NF-ResNet and NF-RegNet, here with the prefix `timm_` where
the papers' network has the name.
"""

import dataclasses
from typing import Literal

from nfnets import names
from nfnets.errors import InputError

Rounding = Literal['code', 'paper', 'eights']
FixupRules = Literal['both', 'zeros', 'shrunken']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conventions:
  """In what implementations of normalizer-free networks differ; by default the released code's."""

  gamma_in_kernel: bool = False
  """Whether gamma scales the standardized kernels, not the activations."""
  gain_in_kernel: bool = False
  """Whether the gain of the last convolution of a branch takes the place of SkipInit's."""
  standardization_eps: float = 1e-4
  """Keeps the standardization of a constant kernel finite."""
  eps_is_added: bool = False
  """To the variance; otherwise it bounds the variance times the fan-in from below."""
  standardization_dtype: Literal['float32', 'bfloat16'] = 'float32'
  """What kernels are standardized in; parameters of less precision stay as they are."""
  symmetric_padding: bool = False
  """As in PyTorch; otherwise 'SAME', as in TensorFlow."""
  folded: bool = False
  """Whether the parameters are those that `folding.fold` makes, for inference alone: kernels are
  standardized, and have every constant that the algebra lets them have."""


_RELEASED = Conventions()
_TIMM = Conventions(
  gamma_in_kernel=True,
  gain_in_kernel=True,
  standardization_eps=1e-5,
  eps_is_added=True,
  symmetric_padding=True,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
  """The numbers that tell one network of a family from another."""

  family: str
  """Key of `families.FAMILIES`."""
  depths: tuple[int, ...]
  """Blocks in each stage."""
  widths: tuple[int, ...]
  """Output channels of each stage."""
  stem_channels: int
  """Channels behind the stem."""
  neck: tuple[int, int] | None = None
  """Outputs of the 1x1 convolution before pooling, as a fraction of the last stage's channels;
  None for no convolution."""
  train_size: int
  """Side of the square training images, in pixels."""
  test_size: int
  """Side of the square evaluation images, in pixels."""
  strides: tuple[int, ...] = (1, 2, 2, 2)
  """Stride of the first block of each stage."""
  bottleneck: float = 0.5
  """Width of the inner convolutions as a fraction of the block's output channels; NF-RegNet: of its
  input channels."""
  group_width: int | None = 128
  """Channels per group of the 3x3 convolutions; None for no groups."""
  rounding: Rounding = 'code'
  """Inner widths: whole groups as the released code has them; the paper's, which divides what is
  no multiple of the group width evenly; or multiples of eight first."""
  activation: str = 'gelu'
  """Key of `activations.ACTIVATIONS`."""
  alpha: float = 0.2
  """Scale of every residual branch."""
  se_ratio: float | None = 0.5
  """Hidden units of Squeeze-Excite as a fraction of the channels; None for no Squeeze-Excite."""
  eca: bool = False
  """Efficient channel attention in place of Squeeze-Excite."""
  skip_gain: float = 0.0
  """Initial value of the gain at the end of each branch, SkipInit's."""
  fixup_rules: FixupRules = 'both'
  """Which of Fixup's two rules the first weights follow: zeros in the last convolution of every
  branch and in the classifier; the other convolutions of a branch shrunken with the number of
  blocks; or both, as it was published."""
  drop_rate: float = 0.0
  """Dropout before the classifier, while training."""
  stochdepth_rate: float = 0.25
  """Probability of dropping the last residual branch, while training; 0 at the first."""
  conventions: Conventions = _RELEASED

  @property
  def num_blocks(self) -> int:
    """Residual blocks of all stages: the d of SkipInit's 1/sqrt(d) and of Fixup."""
    return sum(self.depths)

  @property
  def neck_channels(self) -> int | None:
    """Channels of what is pooled, where a convolution precedes that."""
    if self.neck is None:
      return None
    numerator, denominator = self.neck
    channels = self.widths[-1] * numerator
    if self.rounding == 'eights':
      return round_to_eights(channels / denominator)
    return channels // denominator


def round_to_eights(channels: float) -> int:
  """The nearest multiple of 8, but 8 at least and never less than nine tenths of `channels`."""
  rounded = max(8, int(channels + 4) // 8 * 8)
  return rounded if rounded >= 0.9 * channels else rounded + 8


def widen(variant: Variant, factor: float) -> Variant:
  """The variant with all widths times `factor`, rounded down.

  The stem of NFNets keeps its width, as in the released code; those of the others follow.

  Raises:
    InputError: a width becomes 0.
  """
  if variant.rounding == 'eights':
    widths = tuple(round_to_eights(width * factor) for width in variant.widths)
  else:
    widths = tuple(int(width * factor) for width in variant.widths)
  stem_channels = variant.stem_channels
  if variant.family != 'nfnet':
    stem_channels = int(stem_channels * factor)
  if min(*widths, stem_channels) < 1:
    raise InputError(
      f'width_factor={factor}: no channels are left of the widths {variant.widths} and the '
      f"stem's {variant.stem_channels}"
    )
  return dataclasses.replace(variant, widths=widths, stem_channels=stem_channels)


def _nfnet(depths: tuple[int, ...], train_size: int, test_size: int, drop_rate: float) -> Variant:
  return Variant(
    family='nfnet',
    depths=depths,
    widths=(256, 512, 1536, 1536),
    stem_channels=128,
    neck=(2, 1),
    train_size=train_size,
    test_size=test_size,
    drop_rate=drop_rate,
  )


_NFNETS = {
  # name             depths          train test  dropout
  'nfnet_f0': _nfnet((1, 2, 6, 3), 192, 256, 0.2),
  'nfnet_f1': _nfnet((2, 4, 12, 6), 224, 320, 0.3),
  'nfnet_f2': _nfnet((3, 6, 18, 9), 256, 352, 0.4),
  'nfnet_f3': _nfnet((4, 8, 24, 12), 320, 416, 0.4),
  'nfnet_f4': _nfnet((5, 10, 30, 15), 384, 512, 0.5),
  'nfnet_f5': _nfnet((6, 12, 36, 18), 416, 544, 0.5),
  'nfnet_f6': _nfnet((7, 14, 42, 21), 448, 576, 0.5),
  'nfnet_f7': _nfnet((8, 16, 48, 24), 480, 608, 0.5),
}

_NFNETS_PLUS = {
  f'{name}_plus': dataclasses.replace(variant, widths=(384, 768, 2048, 2048), stem_channels=192)
  for name, variant in _NFNETS.items()
}

_NFNET_TINY = dataclasses.replace(
  _nfnet((1, 1, 2, 1), 32, 48, 0.2),
  widths=(64, 128, 256, 256),
  stem_channels=32,
  group_width=32,
)


def _nf_regnet(
  widths: tuple[int, ...],
  depths: tuple[int, ...],
  train_size: int,
  test_size: int,
  drop_rate: float,
) -> Variant:
  widths = tuple(width * 3 // 4 for width in widths)  # the released code's width factor
  return Variant(
    family='nf_regnet',
    depths=depths,
    widths=widths,
    stem_channels=widths[0],
    neck=(1280, 440),  # the share that EfficientNets have there
    strides=(2, 2, 2, 2),
    train_size=train_size,
    test_size=test_size,
    drop_rate=drop_rate,
    bottleneck=2.25,
    group_width=8,
    activation='silu',
    stochdepth_rate=0.1,
  )


_NF_REGNETS = {
  # name                     widths               depths          train test  dropout
  'nf_regnet_b0': _nf_regnet((48, 104, 208, 440), (1, 3, 6, 6), 192, 224, 0.2),
  'nf_regnet_b1': _nf_regnet((48, 104, 208, 440), (2, 4, 7, 7), 224, 256, 0.2),
  'nf_regnet_b2': _nf_regnet((56, 112, 232, 488), (2, 4, 8, 8), 240, 272, 0.3),
  'nf_regnet_b3': _nf_regnet((56, 128, 248, 528), (2, 5, 9, 9), 288, 320, 0.3),
  'nf_regnet_b4': _nf_regnet((64, 144, 288, 616), (2, 6, 11, 11), 320, 384, 0.4),
  'nf_regnet_b5': _nf_regnet((80, 168, 336, 704), (3, 7, 14, 14), 384, 456, 0.4),
  'nf_regnet_b6': _nf_regnet((88, 184, 376, 792), (3, 8, 16, 16), 448, 528, 0.5),
  'nf_regnet_b7': _nf_regnet((96, 208, 416, 880), (4, 10, 19, 19), 512, 600, 0.5),
  'nf_regnet_b8': _nf_regnet((104, 232, 456, 968), (4, 11, 22, 22), 600, 672, 0.5),
}

_RESNET_DEPTHS = {
  50: (3, 4, 6, 3),
  101: (3, 4, 23, 3),
  152: (3, 8, 36, 3),
  200: (3, 24, 36, 3),
  288: (24, 24, 24, 24),
  600: (50, 50, 50, 50),
}

_RESNET50 = Variant(
  family='resnet',
  depths=_RESNET_DEPTHS[50],
  widths=(256, 512, 1024, 2048),
  stem_channels=64,
  train_size=224,
  test_size=224,
  bottleneck=0.25,
  group_width=None,
  activation='relu',
  alpha=1.0,
  se_ratio=None,
  stochdepth_rate=0.0,
)


def _resnets(
  family: str, name: str, *, stochdepth_rate: float, alpha: float = 1.0
) -> dict[str, Variant]:
  """The six depths of one kind of ResNet; `name` holds the place of the depth."""
  return {
    name.format(depth): dataclasses.replace(
      _RESNET50, family=family, depths=depths, alpha=alpha, stochdepth_rate=stochdepth_rate
    )
    for depth, depths in _RESNET_DEPTHS.items()
  }


_WIDE_RESNETS = ((16, 4), (16, 2), (100, 2), (1000, 2))  # layers, factor of the widths


def _wide_resnets(family: str, *, alpha: float = 1.0) -> dict[str, Variant]:
  """The four Wide ResNets of one scheme, named as their family: two layers a block, 4 outside."""
  return {
    f'{family}_{layers}_{factor}': Variant(
      family=family,
      depths=3 * ((layers - 4) // 6,),
      widths=(16 * factor, 32 * factor, 64 * factor),
      strides=(1, 2, 2),
      stem_channels=16,
      train_size=32,
      test_size=32,
      bottleneck=1.0,
      group_width=None,
      activation='relu',
      alpha=alpha,
      se_ratio=None,
      stochdepth_rate=0.0,
    )
    for layers, factor in _WIDE_RESNETS
  }


def _nfnet_light(
  depths: tuple[int, ...],
  train_size: int,
  test_size: int,
  neck: tuple[int, int],
  *,
  se_ratio: float | None = None,
) -> Variant:
  return Variant(
    family='nfnet',
    depths=depths,
    widths=(256, 512, 1536, 1536),
    stem_channels=128,
    neck=neck,
    train_size=train_size,
    test_size=test_size,
    bottleneck=0.25,
    group_width=64,
    rounding='eights',
    activation='silu',
    se_ratio=se_ratio,
    eca=se_ratio is None,
    stochdepth_rate=0.0,
    conventions=_TIMM,
  )


_NFNETS_LIGHT = {
  # name                      depths          train test neck
  'nfnet_l0': _nfnet_light((1, 2, 6, 3), 224, 288, (3, 2), se_ratio=0.25),
  'eca_nfnet_l0': _nfnet_light((1, 2, 6, 3), 224, 288, (3, 2)),
  'eca_nfnet_l1': _nfnet_light((2, 4, 12, 6), 256, 320, (2, 1)),
  'eca_nfnet_l2': _nfnet_light((3, 6, 18, 9), 320, 384, (2, 1)),
  'eca_nfnet_l3': _nfnet_light((4, 8, 24, 12), 352, 448, (2, 1)),
}

_TEST_NFNET = dataclasses.replace(
  _nfnet_light((1, 1, 1, 1), 160, 160, (3, 2), se_ratio=0.25),
  widths=(32, 64, 96, 128),
  group_width=8,
)

_TIMM_NF_RESNET = dataclasses.replace(
  _RESNET50,
  family='timm_nf_resnet',
  alpha=0.2,
  rounding='eights',
  conventions=_TIMM,
)

_TIMM_NF_RESNETS = {
  'timm_nf_resnet50': dataclasses.replace(_TIMM_NF_RESNET, train_size=256, test_size=288),
  'nf_seresnet50': dataclasses.replace(_TIMM_NF_RESNET, se_ratio=1 / 16),
  'nf_ecaresnet50': dataclasses.replace(_TIMM_NF_RESNET, eca=True),
}

_TIMM_NF_REGNET_B1 = dataclasses.replace(
  _NF_REGNETS['nf_regnet_b1'],
  widths=(40, 80, 160, 328),
  stem_channels=40,
  neck=(960, 328),
  train_size=256,
  test_size=288,
  drop_rate=0.0,
  stochdepth_rate=0.0,
  rounding='eights',
  conventions=_TIMM,
)

VARIANTS: dict[str, Variant] = (
  _NFNETS
  | _NFNETS_PLUS
  | {'nfnet_tiny': _NFNET_TINY}
  | _NFNETS_LIGHT
  | {'test_nfnet': _TEST_NFNET}
  | _resnets('nf_resnet', 'nf_resnet{}', stochdepth_rate=0.1, alpha=0.2)
  | _TIMM_NF_RESNETS
  | _NF_REGNETS
  | {'timm_nf_regnet_b1': _TIMM_NF_REGNET_B1}
  | _resnets('resnet', 'resnet{}', stochdepth_rate=0.0)
  | _resnets('resnet_v1', 'resnet{}_v1', stochdepth_rate=0.0)
  | _resnets('skipinit_resnet', 'skipinit_resnet{}', stochdepth_rate=0.1)
  | _resnets('fixup_resnet', 'fixup_resnet{}', stochdepth_rate=0.1)
  | _wide_resnets('wide_resnet')
  | _wide_resnets('skipinit_wide_resnet')
  | _wide_resnets('sqrt2_wide_resnet')
  | _wide_resnets('fixup_wide_resnet')
  | _wide_resnets('nf_wide_resnet', alpha=0.2)
)


def find_variant(name: str) -> Variant:
  """The row called `name`.

  Raises:
    InputError: there is no such network; the message proposes the nearest names.
  """
  return names.look_up(name, VARIANTS, argument='model')
