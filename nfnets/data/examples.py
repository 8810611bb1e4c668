"""From the number of a record to an example: read, decoded, cropped; a bad record passed over."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from typing import Protocol

import grain
import numpy as np

from nfnets.data import images, order
from nfnets.data.records import BadRecord, Record
from nfnets.errors import InputError

Example = dict[str, np.ndarray | np.generic]

_MAX_BAD_RUN = 100
_LOG = logging.getLogger(__name__)


class RecordSource(Protocol):
  """What the loader reads from: `records.Records`, or anything like it that can be pickled."""

  @property
  def max_labels(self) -> int:
    """How many right answers a record can have."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, i: int, /) -> Record: ...


@dataclasses.dataclass(frozen=True)
class TrainChunk(grain.transforms.Map):
  """Places in the run -> random crops of the records there, or of the next that can be read.

  Attributes:
    records: the examples.
    geometry: how they are cropped.
    seed: of the run.
  """

  records: RecordSource
  geometry: images.TrainGeometry
  seed: int

  def map(self, element: np.ndarray) -> dict[str, np.ndarray]:
    """Called by Grain; `InputError` where 100 records in a row are bad."""
    numbers = order.shuffled(len(self.records), self.seed, element).tolist()
    draws = order.Draws(self.seed)
    size = self.geometry.size
    pixels = np.empty((len(numbers), size, size, 3), np.uint8)
    labels, bad = np.empty((2, len(numbers)), np.int32)
    for i, place in enumerate(element.tolist()):
      labels[i], bad[i] = self._fill(pixels[i], numbers[i], draws.at(place))
    return {'images': pixels, 'labels': labels, 'bad_records': bad}

  def _fill(self, pixels: np.ndarray, number: int, rng: np.random.Generator) -> tuple[int, int]:
    """Label, and how many records were passed over."""
    first = None
    for bad in range(_MAX_BAD_RUN):
      try:
        record = _read(self.records, (number + bad) % len(self.records))
        if not record.labels:
          raise _Unusable(f'no label: {record.where}')
        with _naming(record):
          images.read_train_image(record.image, self.geometry, rng, pixels)
        return record.label, bad
      except _Unusable as error:
        first = first or str(error)
    raise InputError(f'{_MAX_BAD_RUN} records in a row cannot be read; the first: {first}')


@dataclasses.dataclass(frozen=True)
class EvalChunk(grain.transforms.Map):
  """Numbers of records -> the records, or zeros behind the end and for one that does not count."""

  records: RecordSource
  geometry: images.EvalGeometry | images.CropGeometry

  def map(self, element: np.ndarray) -> dict[str, np.ndarray]:
    """Called by Grain."""
    made = [self._example(number) for number in element.tolist()]
    return {name: np.stack([one[name] for one in made]) for name in made[0]}

  def _example(self, number: int) -> Example:
    if number >= len(self.records):
      return self._empty(bad=0)
    try:
      record = _read(self.records, number)
      if not record.labels:
        return self._empty(bad=0)
      with _naming(record):
        image = images.decode(record.image)
    except _Unusable:
      return self._empty(bad=1)
    return {
      'images': images.eval_image(image, self.geometry),
      'labels': np.int32(record.label),
      'right_labels': self._padded(record.labels),
      'mask': np.float32(1),
      'bad_records': np.int32(0),
    }

  def _empty(self, *, bad: int) -> Example:
    return {
      'images': np.zeros((self.geometry.size, self.geometry.size, 3), np.float32),
      'labels': np.int32(0),
      'right_labels': self._padded(()),
      'mask': np.float32(0),
      'bad_records': np.int32(bad),
    }

  def _padded(self, labels: tuple[int, ...]) -> np.ndarray:
    padding = self.records.max_labels - len(labels)
    return np.array([*labels, *(-1,) * padding], np.int32)


class _Unusable(Exception):
  """A record that is passed over."""


def _read(records: RecordSource, i: int) -> Record:
  try:
    return records[i]
  except BadRecord as error:
    _LOG.warning('bad record: %s', error)
    raise _Unusable(str(error)) from error


@contextlib.contextmanager
def _naming(record: Record) -> Iterator[None]:
  """Says which record it is whose image cannot be decoded."""
  try:
    yield
  except images.UnreadableImage as error:
    _LOG.warning('bad record: %s: %s', error, record.where)
    raise _Unusable(f'{error}: {record.where}') from error
