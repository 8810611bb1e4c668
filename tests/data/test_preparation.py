import importlib.util
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nfnets.data import images, preparation
from nfnets.data.builders import digits
from nfnets.data.folders import class_names, find_dataset
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
  with pytest.raises(
    InputError, match=r'cifar10 .*TensorFlow.*pip install nfnets\[prepare\], or .*--from'
  ):
    prepare('cifar10', tmp_path)
  with pytest.raises(InputError, match='TensorFlow'):
    prepare('digits', tmp_path, file_format='tfrecord')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('wrong', 'told'),
  [
    ({'name': 'imagenet2013'}, "'imagenet2013': did you mean .*imagenet2012"),
    ({'name': 'digits', 'file_format': 'zip'}, "file_format is 'zip'"),
    ({'name': 'digits', 'source': 'here'}, '--from=here is not for digits; .* cifar10, mnist,'),
    ({'name': 'cifar10', 'source': 'nowhere'}, '--from=nowhere does not exist'),
    ({'name': 'digits', 'manual_dir': 'nowhere'}, "manual_dir 'nowhere' is not a folder"),
  ],
)
def test_wrong_arguments_are_named(tmp_path: Path, wrong: dict[str, str], told: str):
  with pytest.raises(InputError, match=told):
    prepare(data_dir=tmp_path, **wrong)


def jpeg(grey: int) -> bytes:
  """A picture that can be told from others by its colour."""
  file = io.BytesIO()
  Image.new('RGB', (40, 30), (grey, grey, grey)).save(file, 'JPEG')
  return file.getvalue()


def write_tar(target: Path | io.BytesIO, files: dict[str, bytes]) -> None:
  name, stream = (None, target) if isinstance(target, io.BytesIO) else (target, None)
  with tarfile.open(name, 'w', stream) as tar:
    for file, data in files.items():
      entry = tarfile.TarInfo(file)
      entry.size = len(data)
      tar.addfile(entry, io.BytesIO(data))


def tar_of(files: dict[str, bytes]) -> bytes:
  stream = io.BytesIO()
  write_tar(stream, files)
  return stream.getvalue()


@pytest.mark.slow
@pytest.mark.filterwarnings('default')  # TensorFlow's own are many
@pytest.mark.parametrize('file_format', ['tfrecord', 'array_record'])
def test_imagenet_is_prepared_from_its_archives(tmp_path: Path, file_format: str):
  pytest.importorskip('tensorflow')
  archives = tmp_path / 'archives'
  archives.mkdir()
  wnids = {'n01440764': 0, 'n01443537': 1, 'n15075141': 999}  # tench, goldfish, toilet tissue
  classes = {
    f'{wnid}.tar': tar_of({f'{wnid}_{i}.JPEG': jpeg(60 * label % 251 + i) for i in range(3)})
    for wnid, label in wnids.items()
  }
  write_tar(archives / 'ILSVRC2012_img_train.tar', classes)
  held_out = {f'ILSVRC2012_val_{i:08d}.JPEG': jpeg(10 * i) for i in range(1, 4)}
  write_tar(archives / 'ILSVRC2012_img_val.tar', held_out)

  folder = prepare('imagenet2012', tmp_path, manual_dir=archives, file_format=file_format)

  assert folder == str(tmp_path / 'imagenet2012' / '5.1.0')
  row = find_dataset('imagenet2012', tmp_path)
  names = class_names(tmp_path, row)
  assert len(names) == row.num_classes == 1000
  assert {wnid: names.index(wnid) for wnid in wnids} == wnids
  train = {one.image: one.label for one in open_records(tmp_path, row, row.train_split)}
  assert train == {jpeg(60 * label % 251 + i): label for label in wnids.values() for i in range(3)}
  validation = {one.image: one.label for one in open_records(tmp_path, row, row.eval_split)}
  labels = [65, 970, 230]  # of the first three images, as the challenge published them
  assert validation == dict(zip(held_out.values(), labels, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings('default')
def test_imagenet_without_its_archives(tmp_path: Path):
  pytest.importorskip('tensorflow')
  with pytest.raises(InputError, match=r'imagenet2012 needs ILSVRC2012_img_val\.tar in manual_dir'):
    prepare('imagenet2012', tmp_path / 'data', manual_dir=tmp_path)
  assert not list(tmp_path.iterdir())
  write_tar(tmp_path / 'ILSVRC2012_img_val.tar', {'ILSVRC2012_val_00000001.JPEG': jpeg(0)})
  said: list[str] = []
  prepare('imagenet2012', tmp_path / 'data', manual_dir=tmp_path, report=said.append)
  missing = tmp_path / 'ILSVRC2012_img_train.tar'
  assert said == [f'{missing} is missing: there will be validation images only']
  assert len(open_records(tmp_path / 'data', find_dataset('imagenet2012'), 'validation')) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings('default')
def test_an_archive_that_is_none_is_told_in_one_line(tmp_path: Path):
  pytest.importorskip('tensorflow')
  (tmp_path / 'ILSVRC2012_img_val.tar').write_bytes(b'no archive')
  with pytest.raises(InputError, match='imagenet2012 cannot be prepared: ') as caught:
    prepare('imagenet2012', tmp_path / 'data', manual_dir=tmp_path)
  assert '\n' not in str(caught.value)
