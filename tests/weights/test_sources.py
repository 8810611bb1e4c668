import io
import os
from pathlib import Path

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
