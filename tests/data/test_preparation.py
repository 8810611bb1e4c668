import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nfnets.data import images, preparation
from nfnets.data.builders import digits
from nfnets.data.folders import find_dataset
from nfnets.data.preparation import prepare
from nfnets.data.records import open_records
from nfnets.errors import InputError


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
  folder = tmp_path_factory.mktemp('data')
  prepare('digits', folder)
  return folder


def test_every_digit_is_prepared_once(data_dir: Path):
  row = find_dataset('digits')
  train, test = (open_records(data_dir, row, split) for split in (row.train_split, row.eval_split))
  assert (len(train), len(test)) == (1437, 360)
  pixels, labels = digits.read_digits()
  wanted = sorted((image.tobytes(), label) for image, label in zip(pixels, labels, strict=True))
  found = [(images.decode(one.image), one.label) for split in (train, test) for one in split]
  assert all((image == image[:, :, :1]).all() for image, _ in found)
  assert sorted((image[:, :, 0].tobytes(), label) for image, label in found) == wanted


def test_the_test_split_has_all_classes_alike(data_dir: Path):
  labels = [one.label for one in open_records(data_dir, find_dataset('digits'), 'test')]
  assert set(np.bincount(labels)) <= {35, 36, 37}


def test_the_row_of_digits_is_right(data_dir: Path):
  row = find_dataset('digits')
  train = open_records(data_dir, row, 'train')
  pixels = np.stack([images.decode(one.image) for one in train]).astype(np.float64)
  np.testing.assert_allclose(pixels.mean((0, 1, 2)), row.mean, atol=0.05)
  np.testing.assert_allclose(pixels.std((0, 1, 2)), row.std, atol=0.05)
  assert (pixels.min(), pixels.max()) == (0, 255)


def test_nothing_else_is_left_behind(data_dir: Path):
  assert [file.name for file in data_dir.iterdir()] == ['digits']
  assert [file.name for file in (data_dir / 'digits').iterdir()] == ['1.0.0']


def test_what_is_prepared_is_left_alone(data_dir: Path):
  said: list[str] = []
  folder = prepare('digits', data_dir, report=said.append)
  assert said == ['digits is already prepared; nothing to do']
  assert folder == str(data_dir / 'digits' / '1.0.0')


def test_an_interrupted_preparation_is_never_taken_for_a_whole_one(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  make = digits._examples

  def stopping(*args: Any) -> Iterator[Any]:
    for i, example in enumerate(make(*args)):
      if i == 100:
        raise KeyboardInterrupt
      yield example

  with monkeypatch.context() as patched:
    patched.setattr(digits, '_examples', stopping)
    with pytest.raises(KeyboardInterrupt):
      prepare('digits', tmp_path)
  with pytest.raises(InputError, match=r'scripts/prepare\.py digits'):
    open_records(tmp_path, find_dataset('digits'), 'train')
  prepare('digits', tmp_path)
  assert len(open_records(tmp_path, find_dataset('digits'), 'train')) == 1437


def test_a_folder_that_is_not_whole_is_named(tmp_path: Path):
  (tmp_path / 'digits' / '1.0.0').mkdir(parents=True)
  with pytest.raises(InputError, match=r'digits/1\.0\.0 exists but holds no whole dataset'):
    prepare('digits', tmp_path)


def test_without_tensorflow_it_is_told_what_to_install(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    preparation.importlib.util,
    'find_spec',
    lambda name: None if name == 'tensorflow' else find(name),
  )
  with pytest.raises(InputError, match=r'cifar10 .*TensorFlow.*pip install nfnets\[prepare\]'):
    prepare('cifar10', tmp_path)
  with pytest.raises(InputError, match='TensorFlow'):
    prepare('digits', tmp_path, file_format='tfrecord')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('wrong', 'told'),
  [
    ({'name': 'imagenet2013'}, "'imagenet2013': did you mean .*imagenet2012"),
    ({'name': 'digits', 'file_format': 'zip'}, "file_format is 'zip'"),
    ({'name': 'digits', 'manual_dir': 'nowhere'}, "manual_dir 'nowhere' is not a folder"),
  ],
)
def test_wrong_arguments_are_named(tmp_path: Path, wrong: dict[str, str], told: str):
  with pytest.raises(InputError, match=told):
    prepare(data_dir=tmp_path, **wrong)
