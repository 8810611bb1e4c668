"""timm's evaluation images from our `CropGeometry`, pixel for pixel; skipped without timm."""

import importlib.resources
import json

import numpy as np
import pytest
from PIL import Image

from nfnets.data.datasets import DATASETS
from nfnets.data.images import CropGeometry, eval_image

pytest.importorskip('torch')
timm_networks = pytest.importorskip('parity.timm_networks')
timm_data = pytest.importorskip('timm.data')

pytestmark = pytest.mark.slow

RELEASED = timm_networks.names(pretrained=True)

# Height and width: odd, of either orientation, smaller than the crop, as large, larger by a hair.
SHAPES = [
  (375, 500), (500, 333), (213, 640), (641, 97), (17, 23), (1, 5), (256, 256), (284, 285),
  (301, 299), (999, 1000),
]  # fmt: skip


def released(name: str) -> tuple[tuple[int, float], ...]:
  """The (size, fraction) of an image at which the weights were tested and trained."""
  cfg = timm_networks.released(name)
  train = (cfg.input_size[1], cfg.crop_pct)
  if cfg.test_input_size is None:
    return (train,)
  return train, (cfg.test_input_size[1], cfg.test_crop_pct or cfg.crop_pct)


def picture(height: int, width: int) -> np.ndarray:
  """Noise, which tells every rounding."""
  rng = np.random.default_rng(1000 * height + width)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def test_there_are_fourteen():
  assert len(RELEASED) == 14


@pytest.mark.parametrize('name', RELEASED)
def test_the_pixels_are_equal(name: str):
  cfg = timm_networks.released(name)
  squash = cfg.crop_mode == 'squash'
  assert cfg.interpolation == 'bicubic'
  for size, fraction in released(name):
    transform = timm_data.create_transform(
      (3, size, size),
      interpolation=cfg.interpolation,
      crop_pct=fraction,
      crop_mode=cfg.crop_mode,
      normalize=False,
    )
    geometry = CropGeometry(size=size, fraction=fraction, squash=squash)
    for shape in SHAPES:
      image = picture(*shape)
      wanted = transform(Image.fromarray(image)).numpy().transpose(1, 2, 0)
      assert wanted.dtype == np.uint8
      np.testing.assert_array_equal(eval_image(image, geometry), wanted, err_msg=f'{size} {shape}')


def test_both_kinds_and_the_whole_image_occur():
  settings = {
    (timm_networks.released(name).crop_mode == 'squash', fraction)
    for name in RELEASED
    for _, fraction in released(name)
  }
  assert {squash for squash, _ in settings} == {True, False}
  assert 1.0 in {fraction for _, fraction in settings}


def info(file: str) -> str:
  return (importlib.resources.files('timm.data') / '_info' / file).read_text()


@pytest.mark.parametrize('name', ['imagenet_a', 'imagenet_r'])
def test_the_classes_of_the_subsets_are_those_that_timm_lists(name: str):
  classes = DATASETS[name].classes
  assert classes is not None
  assert list(classes) == [int(line) for line in info(f'{name}_indices.txt').split()]
  synsets = info('imagenet_synsets.txt').split()
  assert [synsets[i] for i in classes] == info(f'{name}_synsets.txt').split()


def test_no_image_has_more_right_answers_than_the_row_says():
  labels = json.loads(info('imagenet_real_labels.json'))
  assert max(map(len, labels)) == DATASETS['imagenet2012_real'].max_labels
