"""Which part of an image a network is trained on."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
  """A part of an image, in pixels."""

  top: int
  left: int
  height: int
  width: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainGeometry:
  """How a training image is cut.

  With `padding`, for small images: resize to `size`, pad with zeros on all sides, cut `size` out at
  a random place.  Without, the distorted-bounding-box crop of the Inception networks, which the
  reference uses (NFNet, Appendix A.1: "distorted bounding-box crop"), then a bicubic resize.

  Attributes:
    size: of the result, in pixels.
    padding: in pixels; None for the distorted crop.
    area: least and greatest share of the image a crop covers.
    aspect: least and greatest width : height of a crop.
    least_shown: crops that show less than this share of the image are drawn anew.  The reference
      asks for 0.1, so that the paper's 0.08 is never reached; so it is kept.
    attempts: how many crops are drawn before the centre of the image is taken.
    flip: mirror every other image, by chance.
  """

  size: int
  padding: int | None = None
  area: tuple[float, float] = (0.08, 1.0)
  aspect: tuple[float, float] = (3 / 4, 4 / 3)
  least_shown: float = 0.1
  attempts: int = 10
  flip: bool = True


def distorted_crop(
  height: int, width: int, geometry: TrainGeometry, rng: np.random.Generator
) -> Box:
  """A part of an image of this size, drawn as TensorFlow's `sample_distorted_bounding_box` draws.

  That is: the aspect is uniform, then the *height* is uniform over those that keep the area in
  range (other programs draw the area).
  """
  low, high = (share * height * width for share in geometry.area)
  for _ in range(geometry.attempts):
    aspect = rng.uniform(*geometry.aspect)
    least = round(math.sqrt(low / aspect))
    most = min(round(math.sqrt(high / aspect)), height, int((width + 0.5 - 1e-7) / aspect))
    tall = least + draw_below(most + 1 - least, rng) if least < most else most
    wide = round(tall * aspect)
    if tall * wide < low:
      tall, wide = tall + 1, round((tall + 1) * aspect)
    if tall * wide > high:
      tall, wide = tall - 1, round((tall - 1) * aspect)
    fits = 0 < tall <= height and 0 < wide <= width and low <= tall * wide <= high
    if fits and tall * wide >= geometry.least_shown * height * width:
      top, left = draw_below(height - tall + 1, rng), draw_below(width - wide + 1, rng)
      return Box(top, left, tall, wide)
  return _centre_crop(height, width, geometry.size)


def _centre_crop(height: int, width: int, size: int) -> Box:
  """The centre square that a resize to size + 32 and a crop to size would show."""
  side = max(1, int(min(height, width) / (size + 32) * size))
  return Box((height - side + 1) // 2, (width - side + 1) // 2, side, side)


def draw_below(count: int, rng: np.random.Generator) -> int:
  """One of 0 .. count - 1, all alike; much quicker than `rng.integers`."""
  return int(rng.random() * count)
