"""MNIST and Fashion-MNIST from their files on the disk: TFDS's own builders but for the source.

The files are the published ones, compressed or not.  Debian's package dataset-fashion-mnist puts
those of Fashion-MNIST into /usr/share/datasets/fashion-mnist.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from nfnets.data.builders.encoding import png
from nfnets.data.builders.source import FromSource
from nfnets.errors import InputError

_FILES = {'train': 'train', 'test': 't10k'}
_IMAGES, _LABELS = '{}-images-idx3-ubyte', '{}-labels-idx1-ubyte'


class MNIST(FromSource, tfds.image_classification.MNIST, skip_registration=True):
  """The folder that `tfds.builder('mnist')` writes, without TensorFlow and without a download.

  Its source is the folder with the four files.
  """

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager  # nothing is downloaded
    return _splits(self.source)


class FashionMNIST(FromSource, tfds.image_classification.FashionMNIST, skip_registration=True):
  """The same for `tfds.builder('fashion_mnist')`."""

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager  # nothing is downloaded
    return _splits(self.source)


def read_idx(folder: str, name: str) -> np.ndarray:
  """The uint8 array in folder/name or folder/name.gz: two zeros, type, rank, sizes, then values.

  Raises:
    InputError: there is no such file, or it is broken.
  """
  path = os.path.join(folder, name)
  compressed = not os.path.exists(path)
  if compressed:
    path += '.gz'
  try:
    with gzip.open(path) if compressed else open(path, 'rb') as file:
      data = file.read()
    if data[:3] != b'\0\0\x08':
      raise ValueError(f'it begins {data[:3].hex()}, not 000008')
    shape = np.frombuffer(data, '>u4', data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)
  except (OSError, EOFError, IndexError, ValueError, zlib.error) as error:
    raise InputError(f'{path} cannot be read: {error}') from error


def _splits(folder: str) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
  splits = {}
  for split, prefix in _FILES.items():
    pictures, labels = (read_idx(folder, name.format(prefix)) for name in (_IMAGES, _LABELS))
    if pictures.shape != (len(labels), 28, 28):
      raise InputError(
        f'{folder} holds images {pictures.shape} and {len(labels)} labels of {split}'
      )
    splits[split] = _examples(pictures, labels)
  return splits


def _examples(pictures: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
  for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
    yield i, {'image': png(picture), 'label': int(label)}  # the key gives the order that TFDS has
