"""The upper part of a JPEG file, without decoding the rest."""

import struct
import threading
from typing import NamedTuple

import numpy as np
import simplejpeg

_BASELINE = (0xC0, 0xC1)  # markers of a frame that is stored from top to bottom
_RESTARTS, _HEAD = b'\xff\xdd\x00\x04', 4096  # a segment, and where it would be
_FRAME = struct.Struct('>BHHB')  # precision, height, width, components
_BELOW = 4  # rows beside the wanted ones: colours are interpolated between two rows of them
_MOST_KEPT = 2**24  # bytes
_KEPT = threading.local()


class Frame(NamedTuple):
  """What a JPEG file says of its pixels; `place` is where it says the height."""

  place: int
  height: int
  width: int


def find_frame(data: bytes) -> Frame | None:
  """The frame of a grey or RGB JPEG, or None if `decode_top` is not for this file."""
  if data.find(_RESTARTS, 0, _HEAD) >= 0:  # what follows the wanted rows would be told otherwise
    return None
  place = 2
  while place + 4 <= len(data) and data[place] == 0xFF:
    marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
    if marker in _BASELINE and place + 4 + _FRAME.size <= len(data):
      precision, height, width, components = _FRAME.unpack_from(data, place + 4)
      plain = precision == 8 and height and width and components in (1, 3)
      return Frame(place + 5, height, width) if plain else None
    if 0xC0 <= marker <= 0xDA and marker not in (0xC4, 0xC8, 0xCC):  # other frames, the pixels
      return None
    place += 2 + length
  return None


def decode_top(data: bytes, frame: Frame, rows: int) -> np.ndarray | None:
  """The first `rows` rows or a few more, uint8 [R, W, 3], bit for bit those of the whole image.

  The decoder is told that the image ends there.  It still looks for the end of the file, so that
  whatever it would say of the whole file, it says; then the result is None.  The pixels stand until
  the next call of the same thread.
  """
  height = min(frame.height, rows + _BELOW)
  shorter = bytearray(data)
  shorter[frame.place : frame.place + 2] = height.to_bytes(2)
  pixels = _scratch(height, frame.width)
  try:
    simplejpeg.decode_jpeg(shorter, fastdct=True, buffer=pixels)
  except ValueError as error:
    # The first complaint is raised, when all rows are there: the rest was not asked for.
    expected = height < frame.height and 'extraneous bytes before marker 0xd9' in str(error)
    return pixels if expected else None
  return pixels


def _scratch(height: int, width: int) -> np.ndarray:
  """Memory that a thread uses again: what comes anew from the system is slow."""
  size = 3 * height * width
  if size > _MOST_KEPT:
    return np.empty((height, width, 3), np.uint8)
  kept = getattr(_KEPT, 'pixels', None)
  if kept is None or len(kept) < size:
    kept = _KEPT.pixels = np.empty(size, np.uint8)
  return kept[:size].reshape(height, width, 3)
