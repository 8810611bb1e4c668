"""From the arguments of a command to the photographs they mean."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from nfnets.errors import InputError

STANDARD_INPUT = '-'

# By these a photograph is known in a folder; a file that is named may be called anything.
SUFFIXES = (
  *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.avif', '.gif', '.bmp', '.tif', '.tiff'),
  *('.jp2', '.ppm', '.pgm', '.tga'),
)


@dataclasses.dataclass(frozen=True)
class Photo:
  """An image file that has not been read yet."""

  name: str
  """As a person would call it: its path, or '-'."""
  read: Callable[[], bytes]
  """Its bytes; raises `OSError`."""


@dataclasses.dataclass(frozen=True)
class Found:
  """What arguments name."""

  photos: tuple[Photo, ...]
  passed_over: int
  """Files in folders that are no photographs by their names."""


def find_photos(arguments: Sequence[str], stdin: BinaryIO) -> Found:
  """The photographs of every argument, in the order of the arguments.

  Args:
    arguments: files; folders, of which all image files are taken, those in folders within too, in
      the order of their paths and without hidden ones; '-' for one image on standard input.
    stdin: where '-' is read from.

  Raises:
    InputError: there is no such file or folder, a folder cannot be listed, standard input is
      named twice or is a terminal, or there is no photograph at all.
  """
  if arguments.count(STANDARD_INPUT) > 1:
    raise InputError(f'{STANDARD_INPUT} is given twice; standard input holds one photo')
  photos: list[Photo] = []
  passed_over = 0
  for argument in arguments:
    if argument == STANDARD_INPUT:
      photos.append(_from_stdin(stdin))
    elif os.path.isdir(argument):
      files = list(_files(argument))
      chosen = [file for file in files if file.suffix.lower() in SUFFIXES]
      photos += map(_from_file, chosen)
      passed_over += len(files) - len(chosen)
    elif os.path.exists(argument):
      photos.append(_from_file(Path(argument)))
    else:
      raise InputError(f'{argument}: there is no such file or folder')
  if not photos:
    where = ', '.join(arguments) or 'no argument'
    raise InputError(f'no photo in {where}: looked for {" ".join(SUFFIXES)}')
  return Found(tuple(photos), passed_over)


def _from_file(path: Path) -> Photo:
  return Photo(os.fsencode(path).decode('utf-8', 'replace'), path.read_bytes)


def _from_stdin(stdin: BinaryIO) -> Photo:
  if stdin.isatty():
    raise InputError(f'{STANDARD_INPUT}: standard input is a terminal; pipe a photo into it')
  return Photo(STANDARD_INPUT, stdin.read)


def _files(folder: str) -> Iterator[Path]:
  """Every file below `folder` that is not hidden, in the order of the paths."""
  found = []
  for place, inner, names in os.walk(folder, onerror=_refuse):
    inner[:] = [name for name in inner if not name.startswith('.')]
    found += [Path(place, name) for name in names if not name.startswith('.')]
  yield from sorted(found)


def _refuse(error: OSError) -> None:
  raise InputError(f'{error.filename}: the folder cannot be listed: {error.strerror}') from error
