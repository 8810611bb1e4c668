"""Files that stand in for ImageNet's."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfnets.benchmarks import pictures
from nfnets.data.datasets import DATASETS
from nfnets.data.folders import class_names
from nfnets.data.images import decode
from nfnets.data.records import open_records
from nfnets.errors import InputError

PHOTOS = Path(__file__).parents[1] / 'data' / 'photos'


def photograph(height: int = 480, width: int = 640) -> np.ndarray:
  rng = np.random.default_rng(0)
  coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
  return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def test_views_are_different_jpegs_of_the_size_that_is_asked_for():
  files = list(pictures.views([photograph()], 8, size=(500, 375)))
  assert len(set(files)) == 8
  for file in files:
    image = Image.open(io.BytesIO(file))
    assert (image.format, image.size, image.mode) == ('JPEG', (500, 375), 'RGB')
    assert image.layer[0][1:3] == (2, 2)  # 4:2:0
  assert files[:3] == list(pictures.views([photograph()], 8, size=(500, 375)))[:3]


def test_views_have_sizes_like_those_of_imagenet():
  sizes = np.array(
    [Image.open(io.BytesIO(file)).size for file in pictures.views([photograph()], 60)]
  )
  assert 0.5 < (sizes.max(axis=1) == 500).mean() < 0.9
  assert (sizes[:, 0] > sizes[:, 1]).mean() > 0.5
  assert len({*map(tuple, sizes)}) > 10
  assert sizes.min() >= 50


def test_what_is_made_has_the_detail_of_photographs(monkeypatch):
  """About 83 kB at quality 95, which decides how long decoding takes."""
  monkeypatch.setattr(pictures, '_SOURCES', 1)
  (source,) = pictures.photographs()
  assert source.shape == (960, 1280, 3)
  sizes = [len(file) for file in pictures.views([source], 6, size=(500, 375))]
  assert 60e3 < np.mean(sizes) < 110e3


def test_photographs_of_ones_own(tmp_path: Path):
  assert len(pictures.photographs(PHOTOS)) == len(list(PHOTOS.glob('*.jpg')))
  with pytest.raises(InputError, match=r'holds no \.jpg files'):
    pictures.photographs(tmp_path)
  with pytest.raises(InputError, match='is not a folder'):
    pictures.photographs(tmp_path / 'nowhere')


def test_the_folder_is_read_like_imagenet(tmp_path: Path, monkeypatch):
  monkeypatch.setattr(pictures, '_PER_SHARD', 4)
  files = list(pictures.views([photograph()], 9))
  pictures.write_imagenet(tmp_path, {'train': files, 'validation': files[:2]})
  row = DATASETS['imagenet2012']
  assert len(class_names(tmp_path, row)) == 1000
  train = open_records(tmp_path, row, row.train_split)
  assert [one.image for one in train] == files
  assert [one.label for one in train] == [7 * i for i in range(9)]
  assert train.fingerprint['shard_lengths'] == [4, 4, 1]
  assert len(open_records(tmp_path, row, row.eval_split)) == 2
  assert decode(train[8].image).shape[2] == 3
