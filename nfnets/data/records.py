"""Random access to the prepared dataset folders that people already have, without TensorFlow."""

import bisect
import itertools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from nfnets.data import folders, offsets, shards
from nfnets.data.datasets import Dataset
from nfnets.data.shards import BadRecord
from nfnets.errors import InputError

__all__ = ['BadRecord', 'Record', 'Records', 'open_records']

_EXAMPLE: Any = tf_example_pb2.Example  # pyright: ignore[reportAttributeAccessIssue]


class Record(NamedTuple):
  """One example as it was stored.

  Attributes:
    image: the encoded file, JPEG or PNG.
    labels: the right answers, 0 .. num_classes - 1 each.  Ordinary datasets have one for every
      image, ImageNet's reassessed labels several, or none.
    where: the file and the place in it, for messages.
  """

  image: bytes
  labels: tuple[int, ...]
  where: str

  @property
  def label(self) -> int:
    """The first right answer; -1 where there is none."""
    return self.labels[0] if self.labels else -1


class Records:
  """The examples of one split by number.  It can be pickled, and read from several threads.

  Attributes:
    dataset: the row of the table it belongs to.
    fingerprint: plain JSON values that differ when the data differ: name, version, split, the
      number of examples and the lengths of the files.
  """

  def __init__(
    self,
    dataset: Dataset,
    pieces: Sequence[tuple[shards.Shard, int, int]],
    features: tfds.features.FeaturesDict,
    fingerprint: dict[str, Any],
  ):
    """Use `open_records`.

    Args:
      dataset: the row of the table.
      pieces: files with the number of records to skip and to take of each.
      features: the TFDS features, which say what a record holds.
      fingerprint: see the class.
    """
    self.dataset = dataset
    self.fingerprint = fingerprint
    self._pieces = tuple(pieces)
    self._starts = list(itertools.accumulate((take for _, _, take in pieces), initial=0))
    label: Any = features[dataset.label_key]
    self._one_label = label.get_tensor_info().shape == ()

  def __len__(self) -> int:
    return self._starts[-1]

  def __repr__(self) -> str:
    return f'Records({self.dataset.name}, {self.fingerprint["split"]}, {len(self)} examples)'

  def __getitem__(self, i: int) -> Record:
    """Example `i`; raises `BadRecord` where it cannot be read, with its file and place."""
    if not 0 <= i < len(self):
      raise IndexError(f'record {i} of {len(self)}')
    piece = bisect.bisect_right(self._starts, i) - 1
    shard, skip, _ = self._pieces[piece]
    place = i - self._starts[piece] + skip
    where = shard.where(place)
    image, labels = self._parse(shard.read(place), where)
    return Record(image, labels, where)

  @property
  def max_labels(self) -> int:
    """How many right answers a record can have."""
    return self.dataset.max_labels

  def _parse(self, data: bytes, where: str) -> tuple[bytes, tuple[int, ...]]:
    dataset = self.dataset
    try:
      stored = _EXAMPLE.FromString(data).features.feature
      # A map of messages makes what it lacks: looking up what is not there gives empty lists.
      image = stored['image'].bytes_list.value[0]
      labels = tuple(stored[dataset.label_key].int64_list.value)
      if self._one_label and len(labels) != 1:
        raise ValueError(f'{len(labels)} labels')
    except Exception as error:  # the parser has no error type of its own
      raise BadRecord(f'not an example of {dataset.name} ({error}): {where}') from error
    if len(labels) > dataset.max_labels:
      raise BadRecord(f'{len(labels)} labels, more than {dataset.max_labels}: {where}')
    for label in labels:
      if not 0 <= label < dataset.num_classes:
        raise BadRecord(f'label {label} is outside 0..{dataset.num_classes - 1}: {where}')
      if dataset.classes is not None and label not in dataset.classes:
        raise BadRecord(f'label {label} is none of the {len(dataset.classes)} classes: {where}')
    return image, labels


def open_records(data_dir: str | os.PathLike[str], dataset: Dataset, split: str) -> Records:
  """Opens a split of a prepared dataset, TFRecord or ArrayRecord, without TensorFlow.

  Args:
    data_dir: the folder that holds `dataset.tfds_name`, as TFDS lays it out.
    dataset: the row of the table.
    split: a TFDS split, or part of one: 'train', 'train[:10000]', 'train[50%:]'.

  Raises:
    InputError: the folder, the split or one of its files is missing, or the folder holds
      something else than images and labels.
  """
  folder = folders.find_folder(data_dir, dataset)
  builder = folders.read_folder(folder)
  features = folders.image_features(builder, dataset.label_key)
  split_info = _find_split(builder.info.splits, dataset, split)
  instructions = split_info.file_instructions
  missing = [one.filename for one in instructions if not os.path.isfile(one.filename)]
  if missing:
    raise InputError(
      f'{len(missing)} of the {len(instructions)} files of {dataset.name} {split!r} are missing, '
      f'the first is {missing[0]}; copy them, or remove {folder} and prepare it again'
    )
  fingerprint = {
    'name': dataset.name,
    'version': str(builder.info.version),
    'split': split,
    'num_examples': int(split_info.num_examples),
    'shard_lengths': [int(one.examples_in_shard) for one in instructions],
  }
  opened = _open_shards(folder, builder.info.file_format, instructions)
  pieces = [(shard, one.skip, one.take) for shard, one in zip(opened, instructions, strict=True)]
  return Records(dataset, pieces, features, fingerprint)


def _find_split(splits: Any, dataset: Dataset, split: str) -> Any:
  try:
    found = splits[split]
  except (KeyError, ValueError, AssertionError) as error:
    sizes = ', '.join(f'{name} ({info.num_examples})' for name, info in sorted(splits.items()))
    raise InputError(
      f'{dataset.name} has no split {split!r}; it has {sizes}, and parts such as train[:90%]'
    ) from error
  if not found.num_examples:
    raise InputError(f'split {split!r} of {dataset.name} is empty')
  return found


def _open_shards(folder: str, file_format: Any, instructions: Sequence[Any]) -> list[shards.Shard]:
  """A shard for each instruction, in their order."""
  if file_format == tfds.core.FileFormat.ARRAY_RECORD:
    return [
      shards.ArrayRecordShard(
        one.filename, one.examples_in_shard, os.stat(one.filename).st_mtime_ns
      )
      for one in instructions
    ]
  if file_format != tfds.core.FileFormat.TFRECORD:
    raise InputError(f'{folder} is in the format {file_format}; tfrecord and array_record are read')
  expected = {os.path.basename(one.filename): one.examples_in_shard for one in instructions}
  index = offsets.find_offsets(folder, expected)
  return [
    shards.TFRecordShard(one.filename, index[os.path.basename(one.filename)])
    for one in instructions
  ]
