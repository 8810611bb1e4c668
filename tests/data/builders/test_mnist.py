import gzip
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from nfnets.data import images
from nfnets.data.folders import class_names, find_dataset
from nfnets.data.preparation import prepare
from nfnets.data.records import open_records
from nfnets.errors import InputError

RNG = np.random.default_rng(0)
PIXELS = {
  'train': RNG.integers(0, 256, (9, 28, 28), np.uint8),
  't10k': RNG.integers(0, 256, (4, 28, 28), np.uint8),
}
LABELS = {name: RNG.integers(0, 10, len(pixels), np.uint8) for name, pixels in PIXELS.items()}


def idx(values: np.ndarray) -> bytes:
  sizes = np.array(values.shape, '>u4').tobytes()
  return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def write_files(folder: Path, *, compressed: bool) -> Path:
  folder.mkdir()
  for name, pixels in PIXELS.items():
    for file, values in (('images-idx3', pixels), ('labels-idx1', LABELS[name])):
      data = idx(values)
      path = folder / f'{name}-{file}-ubyte'
      if compressed:
        path.with_name(path.name + '.gz').write_bytes(gzip.compress(data))
      else:
        path.write_bytes(data)
  return folder


@pytest.mark.parametrize(('name', 'compressed'), [('mnist', False), ('fashion_mnist', True)])
def test_the_folder_is_that_of_tfds(tmp_path: Path, name: str, compressed: bool):
  folder = prepare(name, tmp_path, source=write_files(tmp_path / 'files', compressed=compressed))
  theirs = tfds.builder(name, data_dir=tmp_path / 'elsewhere')
  assert folder == str(tmp_path / name / str(theirs.info.version))
  written = tfds.features.FeaturesDict.from_config(folder)
  assert written.to_json() == theirs.info.features.to_json()
  row = find_dataset(name)
  assert class_names(tmp_path, row) == tuple(theirs.info.features['label'].names)
  for split, file in (('train', 'train'), ('test', 't10k')):
    found = [(images.decode(one.image), one.label) for one in open_records(tmp_path, row, split)]
    assert all((image == image[:, :, :1]).all() for image, _ in found)
    assert sorted((image[:, :, 0].tobytes(), label) for image, label in found) == sorted(
      (pixels.tobytes(), label) for pixels, label in zip(PIXELS[file], LABELS[file], strict=True)
    )


@pytest.mark.parametrize(
  ('file', 'data', 'told'),
  [
    ('t10k-labels-idx1-ubyte', idx(LABELS['train']), r'holds images \(4, 28, 28\) and 9 labels'),
    ('train-images-idx3-ubyte', idx(PIXELS['train'])[:-1], 'train-images-idx3-ubyte cannot be'),
    ('train-images-idx3-ubyte', b'', 'train-images-idx3-ubyte cannot be read: it begins'),
    ('train-images-idx3-ubyte', None, r'train-images-idx3-ubyte\.gz cannot be read.*No such'),
  ],
)
def test_wrong_files_are_named(tmp_path: Path, file: str, data: bytes | None, told: str):
  folder = write_files(tmp_path / 'files', compressed=False)
  if data is None:
    (folder / file).unlink()
  else:
    (folder / file).write_bytes(data)
  with pytest.raises(InputError, match=told) as caught:
    prepare('mnist', tmp_path / 'data', source=folder)
  assert '\n' not in str(caught.value)
