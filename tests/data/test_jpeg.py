import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfnets.data import images, jpeg
from nfnets.data.crops import Box
from nfnets.data.decoding import UnreadableImage, decode, decode_crop

PHOTOS = Path(__file__).parent / 'photos'
HEIGHT, WIDTH = 75, 90


def picture(mode: str = 'RGB') -> Image.Image:
  """Smooth with noise on top, so that no two rows are alike."""
  rng = np.random.default_rng(0)
  coarse = Image.fromarray(rng.integers(0, 256, (8, 9, 3), np.uint8))
  smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
  noisy = smooth + rng.normal(0, 9, smooth.shape)
  return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def encode(mode: str = 'RGB', **options: object) -> bytes:
  file = io.BytesIO()
  picture(mode).save(file, 'JPEG', **{'quality': 92, **options})
  return file.getvalue()


PLAIN = {
  '4:4:4': encode(subsampling=0),
  '4:2:2': encode(subsampling=1),
  '4:2:0': encode(subsampling=2),
  '4:1:1': encode(subsampling='4:1:1'),
  'grey': encode('L'),
  'optimized': encode(optimize=True),
  'bytes behind the end': encode() + b'rubbish',
}
OTHERS = {
  'progressive': encode(progressive=True),
  'inks': encode('CMYK'),
  'restarts': encode(restart_marker_rows=1),
}


@pytest.mark.parametrize('kind', PLAIN)
def test_the_top_equals_that_of_the_whole_bit_for_bit(kind: str):
  data = PLAIN[kind]
  whole, frame = decode(data), jpeg.find_frame(data)
  assert frame is not None
  assert (frame.height, frame.width) == (HEIGHT, WIDTH)
  for rows in range(1, HEIGHT + 1):
    top = jpeg.decode_top(data, frame, rows)
    assert top is not None
    assert rows <= len(top) <= rows + 4
    np.testing.assert_array_equal(top[:rows], whole[:rows])


@pytest.mark.parametrize('kind', OTHERS)
def test_other_kinds_are_left_to_the_decoder_of_the_whole(kind: str):
  assert jpeg.find_frame(OTHERS[kind]) is None


@pytest.mark.parametrize('data', [b'', b'\xff\xd8\xff', b'\xff\xd8\xff\xc0\x00\x11', b'\xff\xd8x'])
def test_what_is_no_whole_header_has_no_frame(data: bytes):
  assert jpeg.find_frame(data) is None


@pytest.mark.parametrize('box', [Box(0, 0, 1, 1), Box(10, 20, 30, 40), Box(0, 0, HEIGHT, WIDTH)])
def test_a_crop_is_a_part_of_the_whole(box: Box):
  part = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
  file = io.BytesIO()
  picture().save(file, 'PNG')
  for data in (*PLAIN.values(), *OTHERS.values(), file.getvalue()):
    sizes: list[tuple[int, int]] = []

    def choose(height: int, width: int, sizes: list[tuple[int, int]] = sizes) -> Box:
      sizes.append((height, width))
      return box

    np.testing.assert_array_equal(decode_crop(data, choose), decode(data)[part])
    assert sizes == [(HEIGHT, WIDTH)]


def test_crops_to_train_on_equal_those_of_the_whole():
  geometry = images.TrainGeometry(size=24)
  for name in ('hopper_gray.jpg', 'hopper_orientation_6.jpg', 'pil_sample_cmyk.jpg'):
    data = (PHOTOS / name).read_bytes()
    for seed in range(20):
      found = np.empty((24, 24, 3), np.uint8)
      images.read_train_image(data, geometry, np.random.default_rng(seed), found)
      wanted = images.train_image(decode(data), geometry, np.random.default_rng(seed))
      np.testing.assert_array_equal(found, wanted)


def upper_half(height: int, width: int) -> Box:
  return Box(0, 0, height // 2, width)


@pytest.mark.parametrize('end', [1500, -600, -40])
def test_what_is_cut_off_is_unreadable_even_below_the_crop(end: int):
  data = encode()[:end]
  with pytest.raises(UnreadableImage):
    decode(data)
  with pytest.raises(UnreadableImage):
    decode_crop(data, upper_half)


def outcome(read: Callable[[], np.ndarray]) -> bytes | str:
  try:
    return read().tobytes()
  except UnreadableImage:
    return 'unreadable'


RUBBISH = [b'\xff\xd5\xff\xd6', b'\0\0', b'\x77\x13\x9a']


@pytest.mark.parametrize(
  ('place', 'wrong'),
  [*itertools.product([700, 1500, -300], RUBBISH), (700, b'\xff\xd9'), (1500, b'\xff\xd9')],
)
def test_damage_is_what_it_is_to_the_decoder_of_the_whole(place: int, wrong: bytes):
  data = bytearray(encode())
  data[place : place + len(wrong)] = wrong
  damaged = bytes(data)
  whole = outcome(lambda: decode(damaged)[: HEIGHT // 2])
  assert outcome(lambda: decode_crop(damaged, upper_half)) == whole
