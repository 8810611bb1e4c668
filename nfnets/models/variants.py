"""Every network of the zoo, one row each: numbers only, no JAX.

Depths, widths, sizes and dropout rates are those of Table 1 of "High-Performance Large-Scale Image
Recognition Without Normalization" (Brock et al. 2021, arXiv 2102.06171); the plus variants are
those of its Table 5, grouped as in the released code.
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
  """Width of the 3x3 convolutions as a fraction of the block's output channels."""
  group_width: int = 128
  """Channels per group of the 3x3 convolutions."""
  activation: str = 'gelu'
  """Key of `activations.ACTIVATIONS`."""
  alpha: float = 0.2
  """Scale of every residual branch."""
  se_ratio: float = 0.5
  """Hidden units of Squeeze-Excite as a fraction of the channels."""
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

VARIANTS: dict[str, Variant] = _NFNETS | _NFNETS_PLUS | {'nfnet_tiny': _NFNET_TINY}


def find_variant(name: str) -> Variant:
  """The row called `name`.

  Raises:
    InputError: there is no such network; the message proposes the nearest names.
  """
  return names.look_up(name, VARIANTS, argument='model')
