"""A tree of pictures -> the files of a prepared dataset."""

import io
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import tensorflow_datasets as tfds
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]
from PIL import Image

from nfnets.data import images, photos
from nfnets.data.image_tree import ImageTree, Picture
from nfnets.errors import InputError

_FORMAT = 'array_record'
_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'  # how these files begin
_SHARD_BYTES = 2**28
_MAX_UNREADABLE = 0.1  # of all files
_NAMED = 10  # so many unreadable files are named, the others counted
_AT_ONCE = 256  # pictures in memory
_REPORT_SECONDS = 10.0


class ImageWriter:
  """Writes one dataset, and counts."""

  def __init__(
    self,
    tree: ImageTree,
    *,
    name: str,
    version: str,
    folder: str,
    report: Callable[[str], None],
  ):
    """`folder` is there and empty; `report` is told how far it is, and what is left out."""
    self._tree, self._name, self._version = tree, name, version
    self._folder, self._report = folder, report
    self._features = tfds.features.FeaturesDict(
      {
        'image': tfds.features.Image(shape=(None, None, 3)),
        'label': tfds.features.ClassLabel(names=list(tree.classes)),
        'file_name': tfds.features.Text(),
      }
    )
    self._seen, self._unreadable, self._turned = 0, 0, 0
    self._next_report = time.monotonic() + _REPORT_SECONDS

  def write(self) -> None:
    """Writes all files of the folder.

    Raises:
      InputError: more than a tenth of the files cannot be read, or none of a split.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
      splits = [self._write_split(split, pool) for split in self._tree.splits]
    if self._unreadable:
      self._report(f'{self._unreadable} of {len(self._tree)} files cannot be read and are left out')
    if self._turned:
      self._report(
        f'{self._turned} pictures are stored turned (EXIF) and will be seen so: turn the files '
        'upright to have them upright'
      )
    info = tfds.core.DatasetInfo(
      builder=tfds.core.DatasetIdentity(
        name=self._name,
        version=tfds.core.Version(self._version),
        data_dir=self._folder,
        module_name='',
      ),
      description='Pictures from a folder.',
      features=self._features,
      supervised_keys=('image', 'label'),
      metadata=tfds.core.MetadataDict(digest=self._tree.digest, left_out=self._unreadable),
    )
    info.set_file_format(_FORMAT)
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(self._folder)

  def _write_split(self, split: str, pool: ThreadPoolExecutor) -> tfds.core.SplitInfo:
    pictures = self._tree.splits[split]
    count = min(1 + sum(one.size for one in pictures) // _SHARD_BYTES, len(pictures))
    lengths, size = [], 0
    for i in range(count):
      part = pictures[i * len(pictures) // count : (i + 1) * len(pictures) // count]
      file = f'{self._name}-{split}.{_FORMAT}-{i:05d}-of-{count:05d}'
      writer = array_record_module.ArrayRecordWriter(
        os.path.join(self._folder, file), 'group_size:1'
      )
      lengths.append(0)
      for record in self._records(part, pool):
        writer.write(record)
        lengths[-1] += 1
        size += len(record)
      writer.close()
    if not all(lengths):
      raise InputError(f'{self._tree.source}: no picture of {split} can be read')
    return tfds.core.SplitInfo(
      name=split,
      shard_lengths=lengths,
      num_bytes=size,
      filename_template=tfds.core.ShardedFileTemplate(
        data_dir=tfds.core.Path(self._folder),
        dataset_name=self._name,
        split=split,
        filetype_suffix=_FORMAT,
      ),
    )

  def _records(self, pictures: tuple[Picture, ...], pool: ThreadPoolExecutor) -> Iterator[bytes]:
    for start in range(0, len(pictures), _AT_ONCE):
      some = pictures[start : start + _AT_ONCE]
      for picture, (data, wrong) in zip(some, pool.map(self._read, some), strict=True):
        self._count(picture, wrong)
        if not wrong:
          self._turned += data.startswith(_JPEG) and photos.is_turned(data)
          yield self._features.serialize_example(
            {
              'image': io.BytesIO(data),
              'label': picture.label,
              'file_name': os.fsencode(picture.path),
            }
          )

  def _read(self, picture: Picture) -> tuple[bytes, str]:
    """The bytes to store, and what is wrong with the file if anything is."""
    path = os.path.join(self._tree.source, picture.path)
    if not os.path.isfile(path):  # a link to nothing, a pipe
      return b'', 'not a file'
    try:
      with open(path, 'rb') as file:
        return encode(file.read()), ''
    except (OSError, images.UnreadableImage) as error:
      return b'', str(error)

  def _count(self, picture: Picture, wrong: str) -> None:
    self._seen += 1
    if wrong:
      self._unreadable += 1
      if self._unreadable <= _NAMED:
        self._report(f'{picture.path} is left out: {wrong}')
      if self._unreadable > _MAX_UNREADABLE * len(self._tree):
        raise InputError(
          f'{self._tree.source}: {self._unreadable} of the first {self._seen} files cannot be '
          f'read, more than a tenth of all {len(self._tree)}; the last is {picture.path}: {wrong}'
        )
    if time.monotonic() >= self._next_report:
      self._next_report = time.monotonic() + _REPORT_SECONDS
      self._report(f'{self._seen} of {len(self._tree)} files')


def encode(data: bytes) -> bytes:
  """A picture as it is stored: JPEG and PNG as they are, all else as PNG.

  Raises:
    UnreadableImage: it is no whole picture.
  """
  if data.startswith((_JPEG, _PNG)):
    images.decode(data)
    return data
  file = io.BytesIO()
  Image.fromarray(photos.read_photo(data)).save(file, 'PNG')
  return file.getvalue()
