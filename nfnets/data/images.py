"""From an image to the pixels a network is given."""

import dataclasses
import functools
import math

import cv2
import numpy as np
from PIL import Image

from nfnets.data.crops import TrainGeometry, distorted_crop, draw_below
from nfnets.data.decoding import UnreadableImage, decode, decode_crop
from nfnets.errors import InputError

__all__ = [
  'CropGeometry',
  'EvalGeometry',
  'TrainGeometry',
  'UnreadableImage',
  'decode',
  'eval_image',
  'read_train_image',
  'train_image',
]

# Parallelism comes from the loader's threads; OpenCV's own would compete with them.
cv2.setNumThreads(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalGeometry:
  """The whole image squashed to a square of `size + margin`, then its centre of `size`.

  As the reference evaluates, to the pixel: bicubic without antialiasing, not clamped to 0..255.
  """

  size: int
  margin: int = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class CropGeometry:
  """The image made smaller, then its centre of `size`; what is cut off is given as a share.

  As timm evaluates, to the pixel: Pillow's bicubic with antialiasing, in whole grey levels.

  Attributes:
    size: of the result, in pixels.
    fraction: the shorter side is resized to floor(size / fraction).
    squash: the longer side as well; otherwise the aspect ratio is kept.
  """

  size: int
  fraction: float
  squash: bool = False

  def __post_init__(self):
    if not 0 < self.fraction <= 1:
      raise InputError(f'fraction={self.fraction} is not above 0 and at most 1')


def train_image(image: np.ndarray, geometry: TrainGeometry, rng: np.random.Generator) -> np.ndarray:
  """A random crop of uint8 [H, W, 3] as uint8 [S, S, 3]; every chance is drawn from `rng`."""
  if geometry.padding is None:
    top, left, height, width = distorted_crop(image.shape[0], image.shape[1], geometry, rng)
    image = image[top : top + height, left : left + width]
  out = np.empty((geometry.size, geometry.size, 3), np.uint8)
  _finish(image, geometry, rng, out)
  return out


def read_train_image(
  data: bytes, geometry: TrainGeometry, rng: np.random.Generator, out: np.ndarray
) -> None:
  """Puts `train_image(decode(data), geometry, rng)` into `out`; decodes what the crop shows alone.

  Raises:
    UnreadableImage: see `decode`.
  """
  if geometry.padding is None:
    image = decode_crop(data, lambda height, width: distorted_crop(height, width, geometry, rng))
  else:
    image = decode(data)
  _finish(image, geometry, rng, out)


def _finish(
  image: np.ndarray, geometry: TrainGeometry, rng: np.random.Generator, out: np.ndarray
) -> None:
  image = _resize(image, geometry.size)
  if geometry.padding is not None:
    image = _padded_crop(image, geometry.padding, rng)
  if geometry.flip and rng.random() < 0.5:
    cv2.flip(image, 1, dst=out)  # copying a mirrored view takes NumPy 20 times as long
  else:
    np.copyto(out, image)


def _resize(image: np.ndarray, size: int) -> np.ndarray:
  if image.shape[:2] == (size, size):
    return image
  return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)


def _padded_crop(image: np.ndarray, padding: int, rng: np.random.Generator) -> np.ndarray:
  height, width = image.shape[:2]
  padded = cv2.copyMakeBorder(image, padding, padding, padding, padding, cv2.BORDER_CONSTANT)
  top, left = draw_below(2 * padding + 1, rng), draw_below(2 * padding + 1, rng)
  return padded[top : top + height, left : left + width]


def eval_image(image: np.ndarray, geometry: EvalGeometry | CropGeometry) -> np.ndarray:
  """The centre of uint8 [H, W, 3] as float32 [S, S, 3], on the scale 0..255."""
  if isinstance(geometry, CropGeometry):
    return _crop(image, geometry).astype(np.float32)
  whole = geometry.size + geometry.margin
  start = (geometry.margin + 1) // 2
  if image.shape[:2] == (whole, whole):
    return image[start : start + geometry.size, start : start + geometry.size].astype(np.float32)
  rows = _bicubic_taps(image.shape[0], whole, start, geometry.size)
  columns = _bicubic_taps(image.shape[1], whole, start, geometry.size)
  return _weigh(_weigh(image, *rows, axis=0), *columns, axis=1)


def _crop(image: np.ndarray, geometry: CropGeometry) -> np.ndarray:
  """Sizes and places are rounded as torchvision's Resize and CenterCrop round them."""
  size, short = geometry.size, math.floor(geometry.size / geometry.fraction)
  height, width = image.shape[:2]
  least = min(height, width)
  if geometry.squash:
    height = width = short
  else:
    height, width = (int(short * side / least) for side in (height, width))
  if (height, width) != image.shape[:2]:
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    image = np.asarray(resized)
  top, left = round((height - size) / 2), round((width - size) / 2)
  return image[top : top + size, left : left + size]


def _weigh(image: np.ndarray, places: np.ndarray, weights: np.ndarray, *, axis: int) -> np.ndarray:
  """Each output row or column (`axis`) as the weighted sum of four of the input."""
  shape = (-1, 1, 1) if axis == 0 else (-1, 1)
  result = image.take(places[0], axis) * weights[0].reshape(shape)
  for tap in range(1, 4):
    result += image.take(places[tap], axis) * weights[tap].reshape(shape)
  return result


@functools.lru_cache(maxsize=4096)
def _bicubic_taps(
  source: int, target: int, start: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """Which input pixels make up the outputs from `start` on, and how much of each.

  TensorFlow's `resize(method='bicubic')`: Keys' kernel with a = -0.5, pixel centres at half, no
  antialiasing; taps beyond the border are left out and the others scaled up to sum to one; the
  offset between pixels is rounded to 1/1024.

  Returns:
    int [4, count] and float32 [4, count], for outputs start .. start + count - 1 of `target`.
  """
  scale = np.float32(source) / np.float32(target)
  centres = (np.arange(start, start + count, dtype=np.float32) + np.float32(0.5)) * scale
  centres -= np.float32(0.5)
  below = np.floor(centres)
  offset = np.rint((centres - below) * 1024) / 1024
  distance = np.abs(offset - np.arange(-1, 3)[:, None])
  near = (1.5 * distance - 2.5) * distance**2 + 1
  far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
  weights = np.where(distance <= 1, near, far)
  places = below.astype(np.int64) + np.arange(-1, 3)[:, None]
  weights = np.where((places >= 0) & (places < source), weights, 0)
  weights /= weights.sum(axis=0)
  return places.clip(0, source - 1), weights.astype(np.float32)
