"""The images that claims are tried on: real ones, small enough to lie in memory."""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nfnets.claims.claim import Source
from nfnets.data.datasets import Dataset
from nfnets.data.decoding import decode
from nfnets.data.folders import find_dataset
from nfnets.data.records import open_records


class Split(NamedTuple):
  """Some images with their labels."""

  images: np.ndarray
  """[N, H, W, C] uint8."""
  labels: np.ndarray
  """[N] int32."""

  def first(self, count: int) -> 'Split':
    """The first `count` of them."""
    return Split(self.images[:count], self.labels[:count])

  def of_classes(self, classes: tuple[int, ...]) -> 'Split':
    """Those of some classes, which are numbered anew in the order given."""
    places = np.flatnonzero(np.isin(self.labels, classes))
    new = np.full(max(int(self.labels.max()), *classes) + 1, -1, np.int32)
    new[list(classes)] = np.arange(len(classes))
    return Split(self.images[places], new[self.labels[places]])


class Images(NamedTuple):
  """A dataset, all of it."""

  dataset: Dataset
  train: Split
  test: Split

  @property
  def mean(self) -> tuple[float, ...]:
    """Of the training pixels, by channel, 0 to 255."""
    return self.dataset.mean[: self.train.images.shape[-1]]

  @property
  def std(self) -> tuple[float, ...]:
    """Likewise."""
    return self.dataset.std[: self.train.images.shape[-1]]


def load_images(source: Source, name: str, *, pooled: int = 1) -> Images:
  """Reads a prepared dataset.  Grey images have one channel.

  Args:
    source: where it lies.
    name: of the dataset, as `scripts/prepare.py` knows it.
    pooled: side of the squares of pixels that are averaged to one: networks on CPUs learn four
      times as fast from images of 14 pixels as from those of 28.

  Raises:
    InputError: it is not prepared; the message names the command that does it.
  """
  return _load(source.data_dir, name, pooled)


@functools.lru_cache(maxsize=2)
def _load(data_dir: Path, name: str, pooled: int) -> Images:
  dataset = find_dataset(name, data_dir)
  train, test = (
    _read(data_dir, dataset, split, pooled) for split in (dataset.train_split, dataset.eval_split)
  )
  return Images(dataset, train, test)


def _read(data_dir: Path, dataset: Dataset, split: str, pooled: int) -> Split:
  records = open_records(data_dir, dataset, split)
  channels = 1 if len(set(dataset.mean)) == 1 else 3  # grey
  images, labels = [], []
  for number in range(len(records)):
    record = records[number]
    images.append(decode(record.image)[..., :channels])
    labels.append(record.label)
  return Split(_pool(np.stack(images), pooled), np.asarray(labels, np.int32))


def _pool(images: np.ndarray, side: int) -> np.ndarray:
  """[N, H, W, C] uint8 -> [N, H / side, W / side, C] uint8."""
  if side == 1:
    return images
  count, height, width, channels = images.shape
  squares = images.reshape(count, height // side, side, width // side, side, channels)
  return np.round(squares.mean((2, 4), dtype=np.float32)).astype(np.uint8)
