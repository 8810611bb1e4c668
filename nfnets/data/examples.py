"""From the number of a record to an example: read, decoded, cropped; a bad record passed over."""

import dataclasses
import logging
from typing import Protocol

import grain
import numpy as np

from nfnets.data import images
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
class TrainExample(grain.transforms.RandomMap):
  """Number of a record -> a random crop of it, or of the next one that can be read."""

  records: RecordSource
  geometry: images.TrainGeometry

  def random_map(self, element: int, rng: np.random.Generator) -> Example:
    """Called by Grain; `InputError` where 100 records in a row are bad."""
    first = None
    for bad in range(_MAX_BAD_RUN):
      try:
        record = _read(self.records, (element + bad) % len(self.records))
        image = _decode(record)
        if not record.labels:
          raise _Unusable(f'no label: {record.where}')
      except _Unusable as error:
        first = first or str(error)
        continue
      return {
        'images': images.train_image(image, self.geometry, rng),
        'labels': np.int32(record.label),
        'bad_records': np.int32(bad),
      }
    raise InputError(f'{_MAX_BAD_RUN} records in a row cannot be read; the first: {first}')


@dataclasses.dataclass(frozen=True)
class EvalExample(grain.transforms.Map):
  """Number of a record -> the record, or zeros behind the end and for one that does not count."""

  records: RecordSource
  geometry: images.EvalGeometry | images.CropGeometry

  def map(self, element: int) -> Example:
    """Called by Grain."""
    if element >= len(self.records):
      return self._empty(bad=0)
    try:
      record = _read(self.records, element)
      if not record.labels:
        return self._empty(bad=0)
      image = _decode(record)
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


def _decode(record: Record) -> np.ndarray:
  try:
    return images.decode(record.image)
  except images.UnreadableImage as error:
    _LOG.warning('bad record: %s: %s', error, record.where)
    raise _Unusable(f'{error}: {record.where}') from error
