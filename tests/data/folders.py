"""Small prepared dataset folders, of either format, written without TensorFlow."""

import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image

from nfnets.data.datasets import Dataset

TINY = Dataset(
  name='tiny',
  tfds_name='tiny',
  train_split='train',
  eval_split='test',
  num_classes=1000,
  mean=(127.5, 127.5, 127.5),
  std=(64.0, 64.0, 64.0),
)
FORMATS = ('tfrecord', 'array_record')


def png(pixels: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, 'PNG')
  return file.getvalue()


def numbered(count: int, size: int = 6) -> list[tuple[bytes, int]]:
  """Examples of which each can be told from the others by its label and by its pixels."""
  rng = np.random.default_rng(0)
  pictures = rng.integers(0, 256, (count, size, size, 3), np.uint8)
  return [(png(picture), label) for label, picture in enumerate(pictures)]


def write_folder(
  root: Path,
  splits: Mapping[str, Sequence[tuple[bytes, Any]]],
  *,
  label: tfds.features.FeatureConnector | None = None,
  label_key: str = 'label',
  file_format: str = 'tfrecord',
  version: str = '1.0.0',
  per_shard: int = 10,
  below: str = 'tiny',
) -> Path:
  """Writes root/below/version with (image bytes, label) in files of `per_shard`; returns it.

  `label` says what labels are: one of the classes of TINY, unless told otherwise.
  """
  folder = root / below / version
  folder.mkdir(parents=True)
  features = tfds.features.FeaturesDict(
    {
      'image': tfds.features.Image(shape=(None, None, 3), encoding_format='png'),
      label_key: label or tfds.features.ClassLabel(num_classes=TINY.num_classes),
    }
  )
  template = tfds.core.ShardedFileTemplate(
    data_dir=folder, dataset_name='tiny', filetype_suffix=file_format
  )
  infos = []
  for split, examples in splits.items():
    data = [
      features.serialize_example({'image': io.BytesIO(image), label_key: answer})
      for image, answer in examples
    ]
    shards = [data[i : i + per_shard] for i in range(0, len(data), per_shard)]
    for number, shard in enumerate(shards):
      name = f'tiny-{split}.{file_format}-{number:05d}-of-{len(shards):05d}'
      WRITERS[file_format](folder / name, shard)
    infos.append(
      tfds.core.SplitInfo(
        name=split,
        shard_lengths=[len(shard) for shard in shards],
        num_bytes=sum(map(len, data)),
        filename_template=template.replace(split=split),
      )
    )
  identity = tfds.core.DatasetIdentity(
    name='tiny', version=tfds.core.Version(version), data_dir=str(folder), module_name=''
  )
  info = tfds.core.DatasetInfo(
    builder=identity, features=features, description='tiny', supervised_keys=('image', label_key)
  )
  info.set_file_format(file_format)
  info.set_splits(tfds.core.SplitDict(infos))
  info.write_to_directory(folder)
  return folder


def frame(data: bytes) -> bytes:
  """One record of a TFRecord file."""
  length = struct.pack('<Q', len(data))
  return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
  crc = google_crc32c.value(data)
  return struct.pack('<I', ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def _write_tfrecord(path: Path, data: Sequence[bytes]) -> None:
  path.write_bytes(b''.join(frame(one) for one in data))


def _write_array_record(path: Path, data: Sequence[bytes]) -> None:
  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  for one in data:
    writer.write(one)
  writer.close()


WRITERS = {'tfrecord': _write_tfrecord, 'array_record': _write_array_record}
