"""Every network of the zoo, one row each: numbers only, no JAX.

NFNet: depths, widths, sizes and dropout rates of Table 1 of "High-Performance Large-Scale Image
Recognition Without Normalization" (Brock et al. 2021, arXiv 2102.06171); the plus variants are
those of its Table 5, grouped as in the released code.

NF-RegNet and NF-ResNet: "Characterizing signal propagation to close the performance gap in
unnormalized ResNets" (Brock et al. 2021, arXiv 2101.08692), with the numbers of the released code.
The baselines share the depths of NF-ResNet: BatchNorm before (He et al. 2016, arXiv 1603.05027) and
behind the convolutions (arXiv 1512.03385), SkipInit (De and Smith 2020, arXiv 2002.10444) and Fixup
(Zhang et al. 2019, arXiv 1901.09321).
"""

import dataclasses

from nfnets import names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
  """The numbers that tell one network of a family from another."""

  family: str
  """Key of `families.FAMILIES`."""
  depths: tuple[int, ...]
  """Blocks in each stage."""
  widths: tuple[int, ...]
  """Output channels of each stage."""
  train_size: int
  """Side of the square training images, in pixels."""
  test_size: int
  """Side of the square evaluation images, in pixels."""
  strides: tuple[int, ...] = (1, 2, 2, 2)
  """Stride of the first block of each stage."""
  bottleneck: float = 0.5
  """Width of the 3x3 convolutions as a fraction of the block's output channels; NF-RegNet: of its
  input channels."""
  group_width: int | None = 128
  """Channels per group of the 3x3 convolutions; None for no groups."""
  activation: str = 'gelu'
  """Key of `activations.ACTIVATIONS`."""
  alpha: float = 0.2
  """Scale of every residual branch."""
  se_ratio: float | None = 0.5
  """Hidden units of Squeeze-Excite as a fraction of the channels; None for no Squeeze-Excite."""
  skip_gain: float = 0.0
  """Initial value of the SkipInit gain."""
  drop_rate: float = 0.0
  """Dropout before the classifier, while training."""
  stochdepth_rate: float = 0.25
  """Probability of dropping the last residual branch, while training; 0 at the first."""


def _nfnet(depths: tuple[int, ...], train_size: int, test_size: int, drop_rate: float) -> Variant:
  return Variant(
    family='nfnet',
    depths=depths,
    widths=(256, 512, 1536, 1536),
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
  f'{name}_plus': dataclasses.replace(variant, widths=(384, 768, 2048, 2048))
  for name, variant in _NFNETS.items()
}

_NFNET_TINY = dataclasses.replace(
  _nfnet((1, 1, 2, 1), 32, 48, 0.2), widths=(64, 128, 256, 256), group_width=32
)


def _nf_regnet(
  widths: tuple[int, ...],
  depths: tuple[int, ...],
  train_size: int,
  test_size: int,
  drop_rate: float,
) -> Variant:
  return Variant(
    family='nf_regnet',
    depths=depths,
    widths=tuple(width * 3 // 4 for width in widths),  # the released code's width factor
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


def _resnets(
  family: str, name: str, *, stochdepth_rate: float, alpha: float = 1.0
) -> dict[str, Variant]:
  """The six depths of one kind of ResNet; `name` holds the place of the depth."""
  return {
    name.format(depth): Variant(
      family=family,
      depths=depths,
      widths=(256, 512, 1024, 2048),
      train_size=224,
      test_size=224,
      bottleneck=0.25,
      group_width=None,
      activation='relu',
      alpha=alpha,
      se_ratio=None,
      stochdepth_rate=stochdepth_rate,
    )
    for depth, depths in _RESNET_DEPTHS.items()
  }


VARIANTS: dict[str, Variant] = (
  _NFNETS
  | _NFNETS_PLUS
  | {'nfnet_tiny': _NFNET_TINY}
  | _resnets('nf_resnet', 'nf_resnet{}', stochdepth_rate=0.1, alpha=0.2)
  | _NF_REGNETS
  | _resnets('resnet', 'resnet{}', stochdepth_rate=0.0)
  | _resnets('resnet_v1', 'resnet{}_v1', stochdepth_rate=0.0)
  | _resnets('skipinit_resnet', 'skipinit_resnet{}', stochdepth_rate=0.1)
  | _resnets('fixup_resnet', 'fixup_resnet{}', stochdepth_rate=0.1)
)


def find_variant(name: str) -> Variant:
  """The row called `name`.

  Raises:
    InputError: there is no such network; the message proposes the nearest names.
  """
  return names.look_up(name, VARIANTS, argument='model')
