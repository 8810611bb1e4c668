"""Random access to the prepared dataset folders that people already have, without TensorFlow."""

import bisect
import itertools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from nfnets.data import offsets, shards
from nfnets.data.datasets import Dataset
from nfnets.data.shards import BadRecord
from nfnets.errors import InputError

__all__ = ['BadRecord', 'Record', 'Records', 'open_records']


class Record(NamedTuple):
  """One example as it was stored.

  Attributes:
    image: the encoded file, JPEG or PNG.
    label: 0 .. num_classes - 1.
    where: the file and the place in it, for messages.
  """

  image: bytes
  label: int
  where: str


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
      features: the TFDS features, which parse a record.
      fingerprint: see the class.
    """
    self.dataset = dataset
    self.fingerprint = fingerprint
    self._pieces = tuple(pieces)
    self._starts = list(itertools.accumulate((take for _, _, take in pieces), initial=0))
    self._features = features

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
    image, label = self._parse(shard.read(place), shard.where(place))
    return Record(image, label, shard.where(place))

  def _parse(self, data: bytes, where: str) -> tuple[bytes, int]:
    try:
      example: Any = self._features.deserialize_example_np(
        data, decoders={'image': tfds.decode.SkipDecoding()}
      )
      image, label = bytes(example['image']), int(example['label'])
    except Exception as error:  # the parser has no error type of its own
      raise BadRecord(f'not an example of {self.dataset.name} ({error}): {where}') from error
    if not 0 <= label < self.dataset.num_classes:
      raise BadRecord(f'label {label} is outside 0..{self.dataset.num_classes - 1}: {where}')
    return image, label


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
  folder = _find_folder(os.path.expanduser(data_dir), dataset)
  builder = _read_folder(folder)
  features = _image_features(builder.info.features, folder)
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


def _find_folder(data_dir: str, dataset: Dataset) -> str:
  """The newest version of the dataset below `data_dir`."""
  command = f'scripts/prepare.py {dataset.name} --data_dir={data_dir}'
  if not os.path.isdir(data_dir):
    raise InputError(f'data_dir {data_dir!r} is not a folder; make it with: {command}')
  root = os.path.join(data_dir, dataset.tfds_name)
  if not os.path.isdir(root):
    raise InputError(
      f'{dataset.name} is not in data_dir: no folder {root}; make it with: {command}'
    )
  if newest := _newest_version(root):
    return newest
  configs = {name: _newest_version(os.path.join(root, name)) for name in sorted(os.listdir(root))}
  found = {name: folder for name, folder in configs.items() if folder}
  if len(found) > 1:
    raise InputError(
      f'{root} holds several configurations ({", ".join(found)}); say which in the tfds_name of '
      f'{dataset.name} in nfnets/data/datasets.py'
    )
  if not found:
    raise InputError(f'{root} holds no whole version of {dataset.name}; make it with: {command}')
  return next(iter(found.values()))


def _newest_version(root: str) -> str | None:
  """The folder of the newest finished version directly in `root`."""
  if not os.path.isdir(root):
    return None
  versions = [
    tfds.core.Version(name)
    for name in os.listdir(root)
    if tfds.core.Version.is_valid(name)
    and os.path.isfile(os.path.join(root, name, 'dataset_info.json'))
  ]
  return os.path.join(root, str(max(versions))) if versions else None


def _read_folder(folder: str) -> tfds.core.DatasetBuilder:
  try:
    return tfds.builder_from_directory(folder)
  except Exception as error:  # JSON, protobuf and version errors alike
    line = (str(error).splitlines() or [repr(error)])[0]
    raise InputError(f'{folder} cannot be read as a dataset folder: {line}') from error


def _image_features(
  features: tfds.features.FeatureConnector | None, folder: str
) -> tfds.features.FeaturesDict:
  names = list(features) if isinstance(features, tfds.features.FeaturesDict) else []
  if not {'image', 'label'} <= set(names):
    raise InputError(f"{folder} holds {names}; an image dataset needs 'image' and 'label'")
  assert isinstance(features, tfds.features.FeaturesDict)
  return features


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
