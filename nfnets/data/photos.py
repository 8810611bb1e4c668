"""A person's photograph, however it is stored, as the pixels that person would see."""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from nfnets.data import images
from nfnets.data.images import UnreadableImage

MAX_PIXELS = 200_000_000
"""Of the largest cameras; a file of a few bytes can claim any number."""

# Of Pillow's formats those of photographs: PostScript, for one, is a program that would be run.
_FORMATS = ('JPEG', 'PNG', 'WEBP', 'AVIF', 'GIF', 'TIFF', 'BMP', 'DIB', 'JPEG2000', 'PPM', 'TGA')

# EXIF orientation -> whether rows and columns change places, then the steps along both.
_UPRIGHT = {
  1: (False, 1, 1),
  2: (False, 1, -1),
  3: (False, -1, -1),
  4: (False, -1, 1),
  5: (True, 1, 1),
  6: (True, 1, -1),
  7: (True, -1, -1),
  8: (True, -1, 1),
}

_ONE_AT_A_TIME = threading.Lock()


def read_photo(data: bytes) -> np.ndarray:
  """An encoded photograph as uint8 [H, W, 3], RGB.

  It stands upright as its EXIF data say, lies on white where it is transparent, and has 8 bits:
  of 16 the higher ones are taken, and floats are 0..1, or 0..255 where any is above 1.  Of an
  animation the first frame is taken.  Colour profiles are left alone: the pixels are taken for
  sRGB, as in training.

  A JPEG is decoded by `images.decode`, as for training and evaluation; where a file has none of
  these peculiarities the pixels are exactly those.

  Raises:
    UnreadableImage: the bytes are no image, only a part of one, or one of too many pixels.
  """
  if not data:
    raise UnreadableImage('the file is empty')
  try:
    with _opened(data) as image:
      if image.width * image.height > MAX_PIXELS:
        raise UnreadableImage(
          f'{image.width} x {image.height} pixels are more than the {MAX_PIXELS:,} that are read'
        )
      by_reference = data[:3] == b'\xff\xd8\xff' and image.mode in ('RGB', 'L', 'CMYK')
      pixels = None if by_reference else _pixels(image)
      orientation = _orientation(image)
  except UnreadableImage:
    raise
  except UnidentifiedImageError as error:
    raise UnreadableImage(
      f'no picture of a known format: the {len(data)} bytes begin {data[:4].hex()}'
    ) from error
  except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ...
    line = ' '.join(str(error).split()) or repr(error)
    raise UnreadableImage(f'no whole picture in these {len(data)} bytes: {line}') from error
  return _upright(_by_reference(data) if pixels is None else pixels, orientation)


def _is_jpeg(data: bytes) -> bool:
  return data.startswith(b'\xff\xd8\xff')


def _by_reference(data: bytes) -> np.ndarray:
  """A JPEG as for evaluation; by Pillow where simplejpeg minds rubbish between whole parts."""
  try:
    return images.decode(data)
  except UnreadableImage:
    with contextlib.suppress(Exception), _opened(data) as image:
      return _pixels(image)
    raise


def is_turned(data: bytes) -> bool:
  """Whether an encoded photograph is stored otherwise than upright, as its EXIF data say."""
  try:
    with _opened(data) as image:
      return _orientation(image) in range(2, 9)
  except Exception:  # no image, of which `read_photo` would tell
    return False


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
  """The image, without Pillow's warnings and limit, which are those of the whole process."""
  with _ONE_AT_A_TIME, warnings.catch_warnings():
    warnings.simplefilter('ignore')
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
      with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        yield image
    finally:
      Image.MAX_IMAGE_PIXELS = limit


def _pixels(image: Image.Image) -> np.ndarray:
  if image.mode == 'F':
    return _grey(_from_floats(np.asarray(image)))
  if image.mode.startswith('I'):  # Pillow would clip all but the lowest 8 bits
    return _grey((np.asarray(image).astype(np.int64).clip(0, 0xFFFF) >> 8).astype(np.uint8))
  if image.has_transparency_data:
    white = Image.new('RGBA', image.size, 'white')
    return np.array(Image.alpha_composite(white, image.convert('RGBA')).convert('RGB'))
  return np.array(image.convert('RGB'))


def _from_floats(values: np.ndarray) -> np.ndarray:
  values = np.nan_to_num(values.astype(np.float64))
  scale = 255 if values.max() <= 1 else 1
  return np.rint((values * scale).clip(0, 255)).astype(np.uint8)


def _grey(values: np.ndarray) -> np.ndarray:
  return np.repeat(values[:, :, None], 3, axis=2)


def _orientation(image: Image.Image) -> int:
  """What the EXIF data say; 1, upright, where there are none or they are damaged."""
  try:
    return image.getexif().get(ExifTags.Base.Orientation, 1)
  except Exception:  # the parser of EXIF raises as many kinds as a decoder
    return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
  transposed, rows, columns = _UPRIGHT.get(orientation, _UPRIGHT[1])
  turned = pixels.swapaxes(0, 1) if transposed else pixels
  return np.ascontiguousarray(turned[::rows, ::columns])
