"""From an encoded image to the pixels a network is given."""

import dataclasses
import functools
import io
import math

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from nfnets.errors import InputError

# Parallelism comes from the loader's threads; OpenCV's own would compete with them.
cv2.setNumThreads(1)
# What cannot be decoded is told by `UnreadableImage`, not by lines of OpenCV on standard error.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


class UnreadableImage(InputError):
  """Bytes that no decoder takes for a whole image."""


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalGeometry:
  """The whole image squashed to a square of `size + margin`, then its centre of `size`."""

  size: int
  margin: int = 32


def decode(data: bytes) -> np.ndarray:
  """An encoded image as uint8 [H, W, 3], RGB.

  JPEG is decoded as TensorFlow does by default (the fast integer transform).  What a file is, is
  judged by its bytes: ImageNet holds a PNG called .JPEG, and CMYK JPEGs.  Grey, palette, CMYK and
  16-bit images become RGB; alpha and EXIF orientation are ignored, as the reference ignores them.

  Raises:
    UnreadableImage: the bytes are no image, or only a part of one.
  """
  try:
    if data[:3] == b'\xff\xd8\xff':
      return _decode_jpeg(data)
    if data[:8] == b'\x89PNG\r\n\x1a\n':
      return _decode_png(data)
    return _decode_other(data)
  except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, zlib.error, ...
    unknown = isinstance(error, UnidentifiedImageError)
    line = 'of no known format' if unknown else ' '.join(str(error).split()) or repr(error)
    raise UnreadableImage(
      f'no whole image in these {len(data)} bytes (they begin {data[:4].hex()}): {line}'
    ) from error


def _decode_jpeg(data: bytes) -> np.ndarray:
  if simplejpeg.decode_jpeg_header(data)[2] in ('CMYK', 'YCCK'):
    return _decode_other(data)  # Pillow knows that Adobe's are inverted
  try:
    return simplejpeg.decode_jpeg(data, fastdct=True)
  except ValueError as error:
    if 'premature end' not in str(error).lower():  # harmless: all pixels are there
      return simplejpeg.decode_jpeg(data, fastdct=True, strict=False)
  return simplejpeg.decode_jpeg(data + b'\xff\xd9', fastdct=True)  # if only the end mark is missing


def _decode_png(data: bytes) -> np.ndarray:
  flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
  image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
  return _decode_other(data) if image is None else image  # Pillow says what is wrong with it


def _decode_other(data: bytes) -> np.ndarray:
  with Image.open(io.BytesIO(data)) as image:
    if image.mode.startswith('I'):  # 16 bits, of which Pillow would clip all but the lowest 8
      high = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
      return np.repeat(high[:, :, None], 3, axis=2)
    return np.array(image.convert('RGB'))


def train_image(image: np.ndarray, geometry: TrainGeometry, rng: np.random.Generator) -> np.ndarray:
  """A random crop of uint8 [H, W, 3] as uint8 [S, S, 3]; every chance is drawn from `rng`."""
  if geometry.padding is None:
    top, left, height, width = _distorted_crop(image.shape[0], image.shape[1], geometry, rng)
    image = _resize(image[top : top + height, left : left + width], geometry.size)
  else:
    image = _padded_crop(_resize(image, geometry.size), geometry.padding, rng)
  if geometry.flip and rng.random() < 0.5:
    image = image[:, ::-1]
  return np.ascontiguousarray(image)


def _resize(image: np.ndarray, size: int) -> np.ndarray:
  if image.shape[:2] == (size, size):
    return image
  return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)


def _padded_crop(image: np.ndarray, padding: int, rng: np.random.Generator) -> np.ndarray:
  height, width = image.shape[:2]
  padded = cv2.copyMakeBorder(image, padding, padding, padding, padding, cv2.BORDER_CONSTANT)
  top, left = rng.integers(0, 2 * padding + 1), rng.integers(0, 2 * padding + 1)
  return padded[top : top + height, left : left + width]


def _distorted_crop(
  height: int, width: int, geometry: TrainGeometry, rng: np.random.Generator
) -> tuple[int, int, int, int]:
  """(top, left, height, width), drawn as TensorFlow's `sample_distorted_bounding_box` draws.

  That is: the aspect is uniform, then the *height* is uniform over those that keep the area in
  range (other programs draw the area).
  """
  low, high = (share * height * width for share in geometry.area)
  for _ in range(geometry.attempts):
    aspect = rng.uniform(*geometry.aspect)
    least = round(math.sqrt(low / aspect))
    most = min(round(math.sqrt(high / aspect)), height, int((width + 0.5 - 1e-7) / aspect))
    tall = int(rng.integers(least, most + 1)) if least < most else most
    wide = round(tall * aspect)
    if tall * wide < low:
      tall, wide = tall + 1, round((tall + 1) * aspect)
    if tall * wide > high:
      tall, wide = tall - 1, round((tall - 1) * aspect)
    fits = 0 < tall <= height and 0 < wide <= width and low <= tall * wide <= high
    if fits and tall * wide >= geometry.least_shown * height * width:
      top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
      return int(top), int(left), tall, wide
  return _centre_crop(height, width, geometry.size)


def _centre_crop(height: int, width: int, size: int) -> tuple[int, int, int, int]:
  """The centre square that a resize to size + 32 and a crop to size would show."""
  side = max(1, int(min(height, width) / (size + 32) * size))
  return (height - side + 1) // 2, (width - side + 1) // 2, side, side


def eval_image(image: np.ndarray, geometry: EvalGeometry) -> np.ndarray:
  """The centre of uint8 [H, W, 3], squashed to a square, as float32 [S, S, 3].

  This is the reference's evaluation to the pixel: TensorFlow's bicubic, which may overshoot 0..255
  and is not clamped.
  """
  whole = geometry.size + geometry.margin
  start = (geometry.margin + 1) // 2
  if image.shape[:2] == (whole, whole):
    return image[start : start + geometry.size, start : start + geometry.size].astype(np.float32)
  rows = _bicubic_taps(image.shape[0], whole, start, geometry.size)
  columns = _bicubic_taps(image.shape[1], whole, start, geometry.size)
  return _weigh(_weigh(image, *rows, axis=0), *columns, axis=1)


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
