"""The sixteen operations of RandAugment as numbers: what each does at a magnitude.

Names and constants are those of RandAugment for ImageNet (Cubuk et al. 2019, arXiv 1909.13719), as
the NFNets were trained with them (Brock et al. 2021, arXiv 2102.06171, appendix A.3).  There
lengths are pixels, whatever the size of the image.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

_LEVELS = np.arange(256)
_FULL_MAGNITUDE = 10.0

TRANSLATE = 100.0
"""Pixels by which Translate moves an image at magnitude 10."""
CUTOUT = 40.0
"""Pixels from the centre of Cutout's box to its sides at magnitude 10."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
  """What an operation does to an image; the defaults do nothing."""

  table: np.ndarray = dataclasses.field(default_factory=_LEVELS.copy)
  """[256]: what each level of a channel becomes."""
  factor: float = 1.0
  """0 takes colour, contrast, light or sharpness away, 1 keeps it, more than 1 exaggerates it."""
  angle: float = 0.0
  """Degrees, counter-clockwise about the centre; the other way if the sign is negative."""
  shear: tuple[float, float] = (0.0, 0.0)
  """How far a pixel is fetched from along x for every row, and along y for every column."""
  shift: tuple[float, float] = (0.0, 0.0)
  """How far a pixel is fetched from along x and y, as a multiple of `TRANSLATE`."""
  reach: float = 0.0
  """From the centre of the grey box to its sides, as a multiple of `CUTOUT`."""


def _solarized(threshold: int) -> Effect:
  return Effect(table=np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


def _lightened(addition: int) -> Effect:
  """Adds to the dark half of the levels."""
  return Effect(table=np.where(_LEVELS < 128, np.minimum(_LEVELS + addition, 255), _LEVELS))


def _posterized(bits: int) -> Effect:
  cleared = 8 - min(bits, 8)
  return Effect(table=_LEVELS >> cleared << cleared)


def _enhanced(level: float) -> Effect:
  return Effect(factor=0.1 + 1.8 * level)


# A level is a tenth of the magnitude.  What depends on the image as well (the tables of
# AutoContrast and Equalize, what Color, Contrast and Sharpness start from) is made where the
# image is.
OPERATIONS: dict[str, Callable[[float], Effect]] = {
  'AutoContrast': lambda level: Effect(),
  'Equalize': lambda level: Effect(),
  'Invert': lambda level: Effect(table=255 - _LEVELS),
  'Posterize': lambda level: _posterized(int(level * 4)),
  'Solarize': lambda level: _solarized(int(level * 256)),
  'SolarizeAdd': lambda level: _lightened(int(level * 110)),
  'Color': _enhanced,
  'Contrast': _enhanced,
  'Brightness': _enhanced,
  'Sharpness': _enhanced,
  'Rotate': lambda level: Effect(angle=30 * level),
  'ShearX': lambda level: Effect(shear=(0.3 * level, 0)),
  'ShearY': lambda level: Effect(shear=(0, 0.3 * level)),
  'TranslateX': lambda level: Effect(shift=(level, 0)),
  'TranslateY': lambda level: Effect(shift=(0, level)),
  'Cutout': lambda level: Effect(reach=level),
}

# The released training code compares bytes with the threshold modulo 256: at magnitude 10 it
# inverts the image, and at 15 it solarizes half of the levels, where nothing should change.
_RELEASED = OPERATIONS | {'Solarize': lambda level: _solarized(int(level * 256) % 256)}

NAMES = tuple(OPERATIONS)
"""An operation's number is its place here."""


class Effects(NamedTuple):
  """All operations at one magnitude, as arrays whose first axis is the operation."""

  tables: np.ndarray
  """uint8 [16, 256]."""
  factors: np.ndarray
  """float32 [16]."""
  matrices: np.ndarray
  """float32 [16, 2, 2, 3], the second axis being the sign (0 negative, 1 positive): rows (a, b, c)
  that give the x, then the y, from which the pixel at (x, y) is fetched as a x + b y + c."""
  reaches: np.ndarray
  """int32 [16]."""


@functools.cache
def effects(
  magnitude: float,
  height: int,
  width: int,
  *,
  translate: float = TRANSLATE,
  cutout: float = CUTOUT,
  as_released: bool = False,
) -> Effects:
  """What every operation does at a magnitude to images of a size."""
  rows: Mapping[str, Callable[[float], Effect]] = _RELEASED if as_released else OPERATIONS
  found = [rows[name](magnitude / _FULL_MAGNITUDE) for name in NAMES]
  return Effects(
    tables=np.array([one.table for one in found], np.uint8),
    factors=np.array([one.factor for one in found], np.float32),
    matrices=np.array(
      [[_matrix(one, sign, height, width, translate) for sign in (-1, 1)] for one in found],
      np.float32,
    ),
    reaches=np.array([int(one.reach * cutout) for one in found], np.int32),
  )


def _matrix(
  effect: Effect, sign: int, height: int, width: int, translate: float
) -> list[list[float]]:
  radians = math.radians(sign * effect.angle)
  cos, sin = math.cos(radians), math.sin(radians)
  x, y = (width - 1) / 2, (height - 1) / 2  # the centre, which rotations keep
  shear_x, shear_y = effect.shear
  shift_x, shift_y = (translate * shift for shift in effect.shift)
  return [
    [cos, sign * shear_x - sin, sign * shift_x + x - cos * x + sin * y],
    [sign * shear_y + sin, cos, sign * shift_y + y - sin * x - cos * y],
  ]
