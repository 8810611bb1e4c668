import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data.folders import png

from nfnets.data import images
from nfnets.data.builders import cifar10
from nfnets.data.folders import class_names, find_dataset
from nfnets.data.preparation import prepare
from nfnets.data.records import open_records
from nfnets.errors import InputError

PER_BATCH = 7
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, PER_BATCH, 32, 32, 3), np.uint8)
LABELS = RNG.integers(0, 10, (6, PER_BATCH)).astype(np.uint8)
NAMES = [*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch']


def npm_package(path: Path, **changed: bytes) -> Path:
  """A picture for each batch, one image in a row, and two lists of labels."""
  files = {
    f'{name}.png': png(batch.reshape(PER_BATCH, 1024, 3))
    for name, batch in zip(NAMES, PIXELS, strict=True)
  }
  files['train_lables.json'] = json.dumps(LABELS[:5].ravel().tolist()).encode()
  files['test_lables.json'] = json.dumps(LABELS[5].tolist()).encode()
  return archive(path, 'package', files | changed)


def official(path: Path, **changed: bytes) -> Path:
  """Records of a label and the planes of the image."""
  planes = PIXELS.transpose(0, 1, 4, 2, 3).reshape(6, PER_BATCH, 3072)
  rows = np.concatenate([LABELS[:, :, None], planes], axis=2)
  files = {f'{name}.bin': row.tobytes() for name, row in zip(NAMES, rows, strict=True)}
  return archive(path, 'cifar-10-batches-bin', files | changed)


def archive(path: Path, folder: str, files: dict[str, bytes]) -> Path:
  with tarfile.open(path, 'w:gz') as tar:
    for name, data in files.items():
      entry = tarfile.TarInfo(f'{folder}/{name}')
      entry.size = len(data)
      tar.addfile(entry, io.BytesIO(data))
  return path


@pytest.mark.parametrize('write', [npm_package, official])
def test_both_archives_hold_the_same(tmp_path: Path, write):
  splits = cifar10.read_cifar10(write(tmp_path / 'archive.tgz'))
  assert list(splits) == ['train', 'test']
  np.testing.assert_array_equal(splits['train'].images, PIXELS[:5].reshape(-1, 32, 32, 3))
  np.testing.assert_array_equal(splits['train'].labels, LABELS[:5].ravel())
  np.testing.assert_array_equal(splits['test'].images, PIXELS[5])
  np.testing.assert_array_equal(splits['test'].labels, LABELS[5])


def test_the_folder_is_that_of_tfds(tmp_path: Path):
  folder = prepare('cifar10', tmp_path, source=npm_package(tmp_path / 'archive.tgz'))
  theirs = tfds.builder('cifar10', data_dir=tmp_path / 'elsewhere')
  assert folder == str(tmp_path / 'cifar10' / str(theirs.info.version))
  written = tfds.features.FeaturesDict.from_config(folder)
  assert written.to_json() == theirs.info.features.to_json()
  info = tfds.builder_from_directory(folder).info
  assert info.file_format == tfds.core.FileFormat.ARRAY_RECORD
  assert {name: split.num_examples for name, split in info.splits.items()} == {
    'train': 5 * PER_BATCH,
    'test': PER_BATCH,
  }


def test_every_image_is_prepared_once(tmp_path: Path):
  prepare('cifar10', tmp_path, source=official(tmp_path / 'archive.tgz'))
  row = find_dataset('cifar10')
  assert class_names(tmp_path, row) == cifar10.CLASSES
  for split, part in (('train', slice(5)), ('test', slice(5, 6))):
    found = [(images.decode(one.image), one.label) for one in open_records(tmp_path, row, split)]
    wanted = zip(PIXELS[part].reshape(-1, 32, 32, 3), LABELS[part].ravel(), strict=True)
    assert sorted((image.tobytes(), label) for image, label in found) == sorted(
      (image.tobytes(), label) for image, label in wanted
    )


def test_examples_keep_the_names_of_tfds(tmp_path: Path):
  folder = prepare('cifar10', tmp_path, source=official(tmp_path / 'archive.tgz'))
  source = tfds.builder_from_directory(folder).as_data_source('test')
  by_name = {one['id'].decode(): one['image'] for one in source}
  assert sorted(by_name) == [f'test_{i:05d}' for i in range(PER_BATCH)]
  for i in range(PER_BATCH):
    np.testing.assert_array_equal(by_name[f'test_{i:05d}'], PIXELS[5, i])


@pytest.mark.parametrize(
  'write',
  [
    lambda path: path.write_bytes(b'no archive'),
    lambda path: archive(path, 'flowers', {'rose.png': b''}),
    lambda path: archive(path, 'package', {'train_lables.json': b'[]'}),
    lambda path: npm_package(path, **{'test_lables.json': b'[1, 2]'}),
    lambda path: npm_package(path, **{'data_batch_3.png': b'no picture'}),
    lambda path: official(path, **{'test_batch.bin': b'cut off'}),
  ],
)
def test_another_archive_is_refused_in_one_line(tmp_path: Path, write):
  write(tmp_path / 'archive.tgz')
  with pytest.raises(InputError, match=r"archive\.tgz' is neither cifar-10-binary") as caught:
    prepare('cifar10', tmp_path / 'data', source=tmp_path / 'archive.tgz')
  assert '\n' not in str(caught.value)
  assert not list(tmp_path.rglob('dataset_info.json'))
