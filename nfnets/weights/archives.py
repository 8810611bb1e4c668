"""Zip archives of files that are stored as they are: what torch saves in."""

import contextlib
import io
import struct
import zipfile
from collections.abc import Iterator
from typing import cast

from nfnets.weights.sources import Refused, Source, printable

# An entry takes about 100 bytes there, and 10 times as much in memory.
_LONGEST_DIRECTORY = 4_000_000
# zipfile documents the first; the rest come from archives that were damaged on purpose.
_ZIP_ERRORS = (
  zipfile.BadZipFile,
  ArithmeticError,
  EOFError,
  LookupError,
  MemoryError,
  OSError,
  RuntimeError,
  ValueError,
  struct.error,
)


class Archive:
  """The files in an archive, at most as many bytes as it has itself."""

  def __init__(self, archive: zipfile.ZipFile, size: int):
    self._archive = archive
    self._budget = size  # entries may overlap
    self.names = archive.namelist()

  def source(self, name: str) -> Source:
    """A file of the archive."""
    try:
      info = self._archive.getinfo(name)
    except KeyError as error:
      raise Refused(f'is damaged: it has no {printable(name)}') from error
    self._budget -= info.file_size
    if info.compress_type != zipfile.ZIP_STORED or self._budget < 0:
      raise Refused(f'refuses {printable(name)} in it: compressed, or larger than the archive')
    return Source(self._archive.open(info), info.file_size)


@contextlib.contextmanager
def opened_archive(source: Source) -> Iterator[Archive]:
  """The archive that a file is, to its end.

  Raises:
    Refused: it is none, or what is done within meets damage.
  """
  raw = cast(io.BufferedReader, source.stream)  # as `opened` made it
  try:
    with _Stream(raw) as stream, zipfile.ZipFile(stream) as archive:
      stream.most = source.remaining
      yield Archive(archive, source.remaining)
  except _ZIP_ERRORS as error:
    raise Refused(f'is a damaged zip archive: {printable(str(error))}') from error


class _Stream(io.BufferedReader):
  """An archive while its directory is read, which zipfile does in one piece."""

  most = _LONGEST_DIRECTORY

  def read(self, size: int | None = -1, /) -> bytes:
    """As of every stream."""
    if size is not None and size > self.most:
      raise Refused(f'refuses an archive with a directory of {size:,} bytes')
    return super().read(size)
