"""Our evaluation images against the reference's graph, built in TensorFlow; skipped without it.

The reference decodes a JPEG with TensorFlow's default, the fast transform, squashes the whole of it
to a square of S + 32 pixels by `tf.image.resize(method='bicubic')`, which overshoots 0..255 and is
not clamped, and cuts out the centre of S.

Measured with TensorFlow 2.21 on the pictures below and on scikit-learn's and scikit-image's: what
is decoded is equal to the bit, CMYK and grey too; evaluation images differ by 0.000012 grey levels
on average at most, and by 0.000122 at most.
"""

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfnets.data import images

tf = pytest.importorskip('tensorflow')

pytestmark = pytest.mark.slow

SIZES = (256, 288, 320, 576)
MARGIN = 32
PHOTOS = Path(__file__).parents[1] / 'data' / 'photos'
DAMAGED = {'truncated_jpeg.jpg'}  # TensorFlow takes a JPEG only with its end mark
INSTALLED = {'sklearn': 'datasets/images/*.jpg', 'skimage': 'data/*.jp*g'}

# height, width, and how the file is written
STORED = {
  'narrow': (37, 501, {'quality': 95}),
  'tall': (333, 51, {'quality': 60, 'subsampling': 0}),
  'half the colours': (101, 203, {'quality': 90, 'subsampling': 1}),
  'progressive': (375, 500, {'quality': 75, 'progressive': True}),
  'one pixel': (1, 1, {}),
  'as large as the whole': (288, 288, {'quality': 90}),
}


def noise(height: int, width: int, options: dict[str, object]) -> bytes:
  """Harder than any photograph: no pixel follows from its neighbours."""
  rng = np.random.default_rng(height * width)
  file = io.BytesIO()
  pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
  Image.fromarray(pixels).save(file, 'JPEG', **options)
  return file.getvalue()


def photographs() -> Iterator[Path]:
  """Those that are checked in, and those of packages that are installed."""
  yield from (file for file in sorted(PHOTOS.glob('*.jpg')) if file.name not in DAMAGED)
  for package, pattern in INSTALLED.items():
    if found := importlib.util.find_spec(package):
      (folder,) = found.submodule_search_locations or ()
      yield from sorted(Path(folder).glob(pattern))


PICTURES = {name: noise(*how) for name, how in STORED.items()} | {
  file.name: file.read_bytes() for file in photographs()
}


@pytest.fixture(params=PICTURES, scope='module')
def picture(request: pytest.FixtureRequest) -> bytes:
  return PICTURES[request.param]


def test_there_are_photographs():
  assert {'hopper_gray.jpg', 'pil_sample_cmyk.jpg'} <= set(PICTURES)


def test_what_is_decoded_is_equal(picture: bytes):
  np.testing.assert_array_equal(images.decode(picture), tf.io.decode_jpeg(picture, 3).numpy())


@pytest.mark.parametrize('size', SIZES)
def test_evaluation_images_agree(picture: bytes, size: int):
  whole = tf.image.resize(tf.io.decode_jpeg(picture, 3), [size + MARGIN] * 2, method='bicubic')
  wanted = tf.image.crop_to_bounding_box(whole, MARGIN // 2, MARGIN // 2, size, size).numpy()
  geometry = images.EvalGeometry(size=size, margin=MARGIN)
  found = images.eval_image(images.decode(picture), geometry)
  assert found.dtype == wanted.dtype == np.float32
  difference = np.abs(found.astype(np.float64) - wanted)
  assert difference.mean() <= 0.05
  assert difference.max() <= 0.5
  print(f'mean {difference.mean():.6f}, most {difference.max():.6f}')
