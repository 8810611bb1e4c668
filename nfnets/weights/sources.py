"""Reading a file that someone else wrote: never more than it holds, and one line when it is bad."""

import contextlib
import mmap
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from nfnets.errors import InputError

LONGEST_NAME = 1024
_ALIGNMENT = 64  # bytes
_LARGE = 1 << 22  # bytes; from here on NumPy wants huge pages
_MOST_ROOMS = 1024  # that Linux fills at once


class Refused(Exception):
  """Why a file cannot be used; `opened` adds its name and makes it an `InputError`."""


class Source:
  """A binary stream of known length, read from its start to its end.

  A number in the file that asks for more bytes than are left never reaches the memory allocator.
  """

  def __init__(self, stream: IO[bytes], size: int):
    self.stream = stream
    self.remaining = size

  def read(self, count: int) -> bytes:
    """Exactly `count` bytes, or `Refused`."""
    with self._reading(count):
      data = self.stream.read(count)
    self._take(count, len(data))
    return data

  def read_array(self, count: int) -> np.ndarray:
    """Exactly `count` bytes as uint8 [count], read-only, or `Refused`.

    They lie as XLA wants arrays to lie, so that a CPU device takes them as they are.
    """
    with self._reading(count):
      data = _room(count)
      found = self.stream.readinto(data.data) if count else 0  # type: ignore[attr-defined]
    self._take(count, found)
    data.flags.writeable = False
    return data

  def read_arrays(self, counts: Sequence[int]) -> list[np.ndarray]:
    """As `read_array` for each of `counts`, which are not negative, of a file.

    They are read in one call, or few: before and after each, this thread waits for the others.
    """
    assert all(count >= 0 for count in counts)
    total = sum(counts)
    with self._reading(total):
      arrays = [_room(count) for count in counts]
      place = self.stream.tell()
      found = _fill(self.stream.fileno(), place, [one.data for one in arrays if one.size])
      self.stream.seek(place + found)
    self._take(total, found)
    for one in arrays:
      one.flags.writeable = False
    return arrays

  @contextlib.contextmanager
  def _reading(self, count: int) -> Iterator[None]:
    if not 0 <= count <= self.remaining:
      raise Refused(f'is cut short: {count} bytes are missing where {self.remaining} are left')
    try:
      yield
    except OSError as error:
      raise Refused(f'cannot be read: {error.strerror}') from error
    except MemoryError as error:
      raise Refused(f'does not fit into memory: {count} bytes in one piece') from error

  def _take(self, count: int, found: int) -> None:
    if found != count:
      raise Refused(f'is cut short: {count} bytes are missing where {self.remaining} are left')
    self.remaining -= count

  def read_line(self) -> bytes:
    """The bytes up to the next newline, which is dropped; a name of sane length."""
    data = self.stream.readline(LONGEST_NAME)
    self.remaining -= len(data)
    if not data.endswith(b'\n'):
      raise Refused('is damaged: a name in it does not end')
    return data[:-1]


def _room(count: int) -> np.ndarray:
  """uint8 [count] of any values, where XLA wants an array to begin.

  Large ones are not NumPy's, which asks for huge pages: where a virtual machine must get them from
  its host, to fill 286 MB took a second instead of a quarter.
  """
  if count >= _LARGE:
    try:
      return np.frombuffer(mmap.mmap(-1, count, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
    except OSError as error:  # there is no other reason
      raise MemoryError from error
  room = np.empty(count + _ALIGNMENT, np.uint8)
  start = -room.__array_interface__['data'][0] % _ALIGNMENT
  return room[start : start + count]


def _fill(file: int, place: int, rooms: list[memoryview]) -> int:
  """Reads from `place` on into one room after the other; returns the bytes that there were."""
  found = first = 0
  while first < len(rooms):
    count = os.preadv(file, rooms[first : first + _MOST_ROOMS], place + found)
    if not count:
      break
    found += count
    while first < len(rooms) and count >= len(rooms[first]):
      count -= len(rooms[first])
      first += 1
    if count:
      rooms[first] = rooms[first][count:]
  return found


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Source]:
  """Opens a file to read; what goes wrong within names it.

  Raises:
    InputError: the file cannot be opened, is empty, or is refused by what reads it.
  """
  path = Path(path)
  with named(path):
    try:
      stream = open(path, 'rb', opener=_open)  # noqa: SIM115 - closed below
    except OSError as error:
      raise Refused(f'cannot be read: {error.strerror}') from error
    except ValueError as error:
      raise Refused('cannot be read: no file can have this name') from error
    with stream:
      status = os.fstat(stream.fileno())
      if not stat.S_ISREG(status.st_mode):
        raise Refused('is no file but a pipe or a device')
      size = status.st_size
      if not size:
        raise Refused('is empty: was its download cut short?')
      yield Source(stream, size)


@contextlib.contextmanager
def named(path: str | os.PathLike) -> Iterator[None]:
  """Turns a refusal within into an `InputError` of one line that names the file."""
  try:
    yield
  except Refused as refused:
    raise InputError(f'{shown(path)}: {refused}') from refused


def _open(path: str, flags: int) -> int:
  """Opens a file without waiting: nobody may ever write to a pipe."""
  return os.open(path, flags | os.O_NONBLOCK)


def shown(path: str | os.PathLike) -> str:
  """A path for a message: one line that moves no cursor, whatever the file is called."""
  text = os.fspath(path)
  return text if text.isprintable() else ascii(text)


def printable(name: object) -> str:
  """A word of a file for a message: one short line, whatever it is."""
  if type(name) is not str:  # the repr of nested tuples may be endless
    return f'a {type(name).__name__}'
  escaped = ascii(name[:80])[1:-1]
  return escaped[:80] + ('...' if len(name) > 80 or len(escaped) > 80 else '')
