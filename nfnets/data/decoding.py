"""From the bytes of an image file to pixels, as the reference's TensorFlow decodes them."""

import functools
import io
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from nfnets.data import jpeg
from nfnets.data.crops import Box
from nfnets.errors import InputError

# What cannot be decoded is told by `UnreadableImage`, not by lines of OpenCV on standard error.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

_ADOBE = b'\xff\xee\x00\x0eAdobe'  # the mark of a JPEG by their programs


class UnreadableImage(InputError):
  """Bytes that no decoder takes for a whole image."""


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


def decode_crop(data: bytes, choose: Callable[[int, int], Box]) -> np.ndarray:
  """The pixels of a part of `decode(data)`; what lies below them is not decoded.

  They may stand until the next call of the same thread alone.

  Args:
    data: see `decode`.
    choose: height and width of the image -> the part; it is called once at most.

  Raises:
    UnreadableImage: as `decode`, also where the end of the file is missing.  Other damage below the
      part may go unseen.
  """
  frame = jpeg.find_frame(data)
  if frame is None:
    image = decode(data)
    box = choose(*image.shape[:2])
  else:
    box = choose(frame.height, frame.width)
    top = jpeg.decode_top(data, frame, box.top + box.height)
    image = decode(data) if top is None else top
  return image[box.top : box.top + box.height, box.left : box.left + box.width]


def _decode_jpeg(data: bytes) -> np.ndarray:
  if simplejpeg.decode_jpeg_header(data)[2] in ('CMYK', 'YCCK'):
    return _from_inks(_decode_pixels(data, 'CMYK'), inverted=_ADOBE in data)
  return _decode_pixels(data, 'RGB')


def _decode_pixels(data: bytes, colours: str) -> np.ndarray:
  decode = functools.partial(simplejpeg.decode_jpeg, colorspace=colours, fastdct=True)
  try:
    return decode(data)
  except ValueError as error:
    if 'premature end' not in str(error).lower():  # harmless: all pixels are there
      return decode(data, strict=False)
  return decode(data + b'\xff\xd9')  # if only the end mark is missing


def _from_inks(pixels: np.ndarray, *, inverted: bool) -> np.ndarray:
  """RGB of [H, W, 4]; Adobe's programs store the white that an ink leaves, not the ink."""
  white = (pixels if inverted else 255 - pixels).astype(np.uint16)
  return (white[:, :, :3] * white[:, :, 3:] // 255).astype(np.uint8)


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
