import io
import os
from pathlib import Path

import pytest

from nfnets.errors import InputError
from nfnets.inference.inputs import find_photos

NOTHING = io.BytesIO()


@pytest.fixture
def album(tmp_path: Path) -> Path:
  for name in (
    *('b.jpg', 'a.PNG', 'inner/deeper/c.webp', 'inner/.hidden/d.jpg', '.e.jpg'),
    *('notes.txt', 'inner/weights.npz', 'jpg'),
  ):
    file = tmp_path / 'album' / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(name.encode())
  return tmp_path / 'album'


def test_a_folder_is_searched_to_its_bottom_in_order(album: Path):
  found = find_photos([str(album)], NOTHING)
  wanted = [album / 'a.PNG', album / 'b.jpg', album / 'inner' / 'deeper' / 'c.webp']
  assert [photo.name for photo in found.photos] == [str(path) for path in wanted]
  assert [photo.read() for photo in found.photos] == [b'a.PNG', b'b.jpg', b'inner/deeper/c.webp']
  assert found.passed_over == 3


def test_a_file_that_is_named_is_taken_whatever_its_name(album: Path):
  arguments = [str(album / name) for name in ('notes.txt', 'b.jpg', '.e.jpg', 'b.jpg')]
  found = find_photos(arguments, NOTHING)
  assert [photo.name for photo in found.photos] == arguments
  assert found.passed_over == 0


def test_standard_input_keeps_its_place(album: Path):
  arguments = [str(album / 'b.jpg'), '-', str(album / 'a.PNG')]
  found = find_photos(arguments, io.BytesIO(b'bytes'))
  assert [photo.name for photo in found.photos] == arguments
  assert found.photos[1].read() == b'bytes'


def test_nothing_is_read_before_it_is_asked_for(album: Path):
  stdin = io.BytesIO(b'bytes')
  found = find_photos(['-', str(album)], stdin)
  (album / 'b.jpg').unlink()
  assert stdin.tell() == 0
  with pytest.raises(FileNotFoundError):
    found.photos[2].read()


def test_a_path_that_does_not_exist_is_told_at_once(album: Path):
  missing = str(album / 'missing.jpg')
  with pytest.raises(InputError, match=r'missing\.jpg: there is no such file or folder$'):
    find_photos([str(album), missing], NOTHING)


def test_a_name_that_is_no_text(tmp_path: Path):
  path = os.fsencode(tmp_path) + b'/caf\xe9.jpg'
  with open(path, 'wb') as file:
    file.write(b'bytes')
  for argument in (tmp_path, os.fsdecode(path)):
    (photo,) = find_photos([str(argument)], NOTHING).photos
    assert photo.name == f'{tmp_path}/caf\ufffd.jpg'  # can be printed
    assert photo.read() == b'bytes'


def test_folders_without_a_photo(album: Path):
  (album / 'empty').mkdir()
  with pytest.raises(InputError, match=r'no photo in .*/empty: looked for \.jpg \.jpeg'):
    find_photos([str(album / 'empty')], NOTHING)


def test_standard_input_twice():
  with pytest.raises(InputError, match='- is given twice'):
    find_photos(['-', '-'], NOTHING)


def test_standard_input_that_is_a_terminal():
  reader, writer = os.openpty()
  with (
    os.fdopen(reader, 'rb'),
    os.fdopen(writer, 'rb') as terminal,
    pytest.raises(InputError, match='-: standard input is a terminal'),
  ):
    find_photos(['-'], terminal)
