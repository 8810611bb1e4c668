"""One file of records, of either format: read by number, safe from several threads.

Nothing here keeps a file open across processes, so that shards can be pickled to workers.
"""

import dataclasses
import errno
import functools
import mmap
import os
import struct
from typing import Protocol

import google_crc32c
import numpy as np
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from nfnets.errors import InputError

# A TFRecord: u64 length | u32 checksum of the length | data | u32 checksum of the data.
_HEADER = struct.Struct('<QI')
_CHECKSUM = struct.Struct('<I')
_DAMAGED = -1


class BadRecord(Exception):
  """A record that cannot be read; the message names its file and its place there."""


class Shard(Protocol):
  """A file of records."""

  def __len__(self) -> int: ...

  def read(self, i: int) -> bytes:
    """The serialized record number `i`; raises `BadRecord`."""
    ...

  def where(self, i: int) -> str:
    """The file and the place of record `i`, for messages."""
    ...


def masked_crc32c(data: bytes) -> int:
  """The checksum of TFRecord files: CRC-32C, rotated by 15 bits and shifted by a constant."""
  crc = google_crc32c.value(data)
  return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@dataclasses.dataclass(frozen=True, eq=False)
class TFRecordShard:
  """A TFRecord file and the places of its records.

  Attributes:
    path: the file.
    index: int64 [records, 2], from `index_tfrecords`.
  """

  path: str
  index: np.ndarray

  def __len__(self) -> int:
    return len(self.index)

  def where(self, i: int) -> str:
    """See `Shard`."""
    return f'{self.path}, record {i} at byte {self.index[i, 0]}'

  def read(self, i: int) -> bytes:
    """See `Shard`; the checksum is verified."""
    start, length = (int(x) for x in self.index[i])
    if length == _DAMAGED:
      raise BadRecord(f'the file is damaged or cut off: {self.where(i)}')
    # Opened for each read: a few microseconds buy no limit on open files and no sharing of them.
    data = self._read_bytes(start, _HEADER.size + length + _CHECKSUM.size, i)
    if len(data) != _HEADER.size + length + _CHECKSUM.size:
      raise BadRecord(f'the file is cut off: {self.where(i)}')
    body = data[_HEADER.size : -_CHECKSUM.size]
    if _CHECKSUM.unpack(data[-_CHECKSUM.size :])[0] != masked_crc32c(body):
      raise BadRecord(f'the checksum does not match: {self.where(i)}')
    return body

  def _read_bytes(self, start: int, count: int, i: int) -> bytes:
    descriptor = os.open(self.path, os.O_RDONLY | getattr(os, 'O_CLOEXEC', 0))
    try:
      return os.pread(descriptor, count, start)
    except OSError as error:
      if error.errno != errno.EIO:  # a bad sector costs its record; a lost disk stops the run
        raise
      raise BadRecord(f'{error.strerror}: {self.where(i)}') from error
    finally:
      os.close(descriptor)


def index_tfrecords(path: str, expected: int) -> np.ndarray:
  """Finds the records of a TFRecord file by walking their headers, without reading the data.

  Damage is closed in: after a broken header the walk goes on at the next whole one, and a cut-off
  tail costs only its own records.

  Args:
    path: the file.
    expected: how many records it should hold.

  Returns:
    int64 [expected, 2]: the byte at which each record starts and the length of its data, the
    length being -1 for records that are lost.

  Raises:
    InputError: the file holds more records than expected.
  """
  rows: list[tuple[int, int]] = []
  size = os.path.getsize(path)
  position = 0
  gap = None  # the row of the last damaged stretch, which takes up all that is lost at its place
  with open(path, 'rb', buffering=0) as file:
    while position < size:
      length = _length_at(file.fileno(), position)
      end = position + _HEADER.size + (length or 0) + _CHECKSUM.size
      if length is not None and end <= size:
        rows.append((position, length))
        position = end
        continue
      gap = len(rows)
      rows.append((position, _DAMAGED))
      position = _next_header(file.fileno(), position + 1, size)
  if len(rows) > expected and rows[-1][1] == _DAMAGED:
    rows.pop()  # rubbish behind the last record
  if len(rows) > expected:
    raise InputError(
      f'{path} holds {len(rows)} records where dataset_info.json says {expected}: the folder is '
      'mixed from two preparations; prepare it again'
    )
  gap = len(rows) if gap is None or gap >= expected else gap
  lost = [(rows[gap][0] if gap < len(rows) else size, _DAMAGED)] * (expected - len(rows))
  return np.array(rows[:gap] + lost + rows[gap:], np.int64).reshape(-1, 2)


def _length_at(descriptor: int, position: int) -> int | None:
  """The data length of the record at `position`, or None where no whole header is."""
  header = os.pread(descriptor, _HEADER.size, position)
  if len(header) < _HEADER.size:
    return None
  length, checksum = _HEADER.unpack(header)
  return length if checksum == masked_crc32c(header[:8]) else None


def _next_header(descriptor: int, start: int, size: int) -> int:
  """The first position from `start` on where a header with a right checksum lies, or `size`."""
  with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
    zeros = data.find(b'\0\0\0\0', start + 4)  # the upper half of any length below 4 GiB
    while zeros >= 0:
      if _length_at(descriptor, zeros - 4) is not None:
        return zeros - 4
      zeros = data.find(b'\0\0\0\0', zeros + 1)
  return size


@dataclasses.dataclass(frozen=True)
class ArrayRecordShard:
  """An ArrayRecord file.  Its places and checksums are kept by the format itself.

  Attributes:
    path: the file.
    length: how many records it should hold.
    stamp: when the file was last written, in nanoseconds.
  """

  path: str
  length: int
  stamp: int

  def __len__(self) -> int:
    return self.length

  def where(self, i: int) -> str:
    """See `Shard`."""
    return f'{self.path}, record {i}'

  def read(self, i: int) -> bytes:
    """See `Shard`."""
    try:
      reader = _array_record_reader(self.path, self.stamp)
      held = reader.num_records()
      if held == self.length:
        return reader.read(i, i + 1)[0]  # a range costs a twentieth of what a list costs
    except (RuntimeError, ValueError, IndexError) as error:
      raise BadRecord(f'{_first_line(error)}: {self.where(i)}') from error
    # ArrayRecord keeps its places at the end of the file: cut off, nothing of it can be found.
    raise BadRecord(
      f'the file is damaged or cut off ({held} records found where dataset_info.json says '
      f'{self.length}): {self.where(i)}'
    )


# A reader dropped from the cache closes its file when the last thread has done with it.
@functools.lru_cache(maxsize=256)
def _array_record_reader(path: str, stamp: int) -> array_record_module.ArrayRecordReader:
  del stamp  # part of the key: a file written anew gets a new reader
  return array_record_module.ArrayRecordReader(
    path, options='readahead_buffer_size:0', file_reader_buffer_size=32768
  )


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [''])[0].split(';')[0]
