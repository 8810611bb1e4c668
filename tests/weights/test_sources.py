import io
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from nfnets.errors import InputError
from nfnets.weights import deepmind, files, safetensors, torch_files
from nfnets.weights.sources import Refused, Source, opened, printable

READERS = [deepmind.read, safetensors.read, torch_files.read, files.kind_of]


@pytest.mark.parametrize('read', READERS)
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, read: object) -> None:
  os.mkfifo(tmp_path / 'pipe')
  (tmp_path / 'loop').symlink_to('loop')
  (tmp_path / 'gone').symlink_to('nowhere')
  for path, message in {
    tmp_path / 'pipe': 'is no file but a pipe or a device',
    Path('/dev/zero'): 'is no file but a pipe or a device',
    tmp_path / 'loop': 'cannot be read: Too many levels',
    tmp_path / 'gone': 'cannot be read: No such file',
    tmp_path: 'cannot be read: Is a directory',
    tmp_path / ('x' * 5000): 'cannot be read: File name too long',
    tmp_path / 'a\0b': 'cannot be read: no file can have this name',
    tmp_path / '\ud800': 'cannot be read: no file can have this name',
  }.items():
    with pytest.raises(InputError, match=message) as caught:
      read(path)
    assert str(caught.value).isprintable()


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
  (tmp_path / 'file').write_bytes(b'abc')
  (tmp_path / 'link').symlink_to('file')
  with opened(tmp_path / 'link') as source:
    assert source.read(3) == b'abc'


def test_the_name_of_a_file_moves_no_cursor(tmp_path: Path) -> None:
  path = tmp_path / '\x1b[2J\nä'
  path.write_bytes(b'x')
  with pytest.raises(InputError, match=r"\\x1b\[2J\\n\\xe4': is no pickle") as caught:
    deepmind.read(path)
  assert str(caught.value).isprintable()


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
  path = tmp_path / 'x'
  path.write_bytes(bytes(100_000))
  with opened(path) as source:
    source.read(10)
    os.truncate(path, 10)
    with pytest.raises(Refused, match='is cut short'):
      source.read(90_000)


COUNTS = [0, 3, 64, 0, 1000, 1, *[2] * 2500, 1 << 22, 0, 77]


def part(array: np.ndarray) -> np.ndarray:
  assert array.dtype == np.uint8
  assert not array.flags.writeable
  assert not array.size or array.__array_interface__['data'][0] % 64 == 0
  return array


@pytest.mark.parametrize('most', [None, 1 << 20])
def test_many_arrays_are_those_one_by_one(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int | None
) -> None:
  data = np.random.default_rng(0).integers(0, 256, 9 + sum(COUNTS) + 5, np.uint8)
  data.tofile(tmp_path / 'x')
  preadv, calls = os.preadv, []

  def at_most(file: int, rooms: list[memoryview], place: int) -> int:
    calls.append(place)
    return preadv(file, rooms if most is None else [rooms[0][:most]], place)

  monkeypatch.setattr(os, 'preadv', at_most)
  with opened(tmp_path / 'x') as source:
    source.read(9)
    found = [part(array) for array in source.read_arrays(COUNTS)]
    assert source.remaining == 5
    assert source.read(5) == data[-5:].tobytes()
  with opened(tmp_path / 'x') as source:
    source.read(9)
    for array, count in zip(found, COUNTS, strict=True):
      np.testing.assert_array_equal(array, part(source.read_array(count)), strict=True)
  np.testing.assert_array_equal(np.concatenate(found), data[9:-5])
  assert len(calls) == 3 if most is None else len(calls) > 2500


def test_many_arrays_of_a_file_that_is_too_short(tmp_path: Path) -> None:
  (tmp_path / 'x').write_bytes(bytes(100_000))
  with opened(tmp_path / 'x') as source:
    with pytest.raises(Refused, match='is cut short'):
      source.read_arrays([50_000, 50_001])
    os.truncate(tmp_path / 'x', 60_000)
    with pytest.raises(Refused, match='is cut short'):
      source.read_arrays([50_000, 50_000])


def test_an_array_for_which_there_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
  def full(*_: object) -> None:
    raise OSError(12, 'Cannot allocate memory')

  monkeypatch.setattr(mmap, 'mmap', full)
  with pytest.raises(Refused, match='does not fit into memory: 8388608 bytes'):
    Source(io.BytesIO(), 1 << 23).read_array(1 << 23)


class Broken(io.BytesIO):
  """A disk that fails."""

  def __init__(self, error: Exception):
    super().__init__()
    self.error = error

  def read(self, _: int | None = -1, /) -> bytes:
    raise self.error


@pytest.mark.parametrize(
  ('error', 'message'),
  [(OSError(5, 'I/O error'), 'cannot be read: I/O error'), (MemoryError(), 'not fit into memory')],
)
def test_what_cannot_be_read_is_refused(error: Exception, message: str) -> None:
  with pytest.raises(Refused, match=message):
    Source(Broken(error), 10).read(5)


def test_words_of_a_file_are_short_lines() -> None:
  assert printable('x' * 80) == 'x' * 80
  assert printable('x' * 81) == 'x' * 80 + '...'
  assert printable('\x1b\n\u202e') == r'\x1b\n\u202e'
  assert len(printable('\U0001f600' * 9)) == 83
  assert printable([1]) == 'a list'
