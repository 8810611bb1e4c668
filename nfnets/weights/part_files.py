"""A file that is being written, until it is whole and gets its name."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
  import fcntl
except ImportError:  # on Windows two processes may spoil each other's part: its md5 will tell
  fcntl = None

_LOG = logging.getLogger(__name__)


class PartFile:
  """The bytes of `NAME` that have come so far, in `NAME.part`, for a later process to go on with.

  `NAME.part.from` holds the server's word for the version of the file that they are from.
  """

  def __init__(self, path: Path):
    self.path = path
    self._part = path.with_name(f'{path.name}.part')
    self._from = path.with_name(f'{path.name}.part.from')
    self.size = self._part.stat().st_size if self._part.exists() else 0
    self.validator = self._from.read_text('utf-8') if self.size and self._from.exists() else ''
    self.is_patched = self.size > 0
    """Whether the bytes may be from more than one answer of the server."""

  def restart(self, validator: str = '') -> None:
    """Throws the bytes away; those to come are from the version that `validator` stands for."""
    self._part.write_bytes(b'')  # first: without bytes, an older validator means nothing
    self._from.write_text(validator, 'utf-8')
    self.size, self.validator = 0, validator

  @contextlib.contextmanager
  def opened(self) -> Iterator[IO[bytes]]:
    """The file to append to; what was appended is on the disk afterwards, whatever happens."""
    with open(self._part, 'ab') as file:
      try:
        yield file
      finally:
        file.flush()
        os.fsync(file.fileno())
        self.size = file.tell()

  def md5(self) -> str:
    """Of the bytes so far, as hexadecimal digits."""
    return md5_of(self._part)

  def finish(self) -> None:
    """Gives the file its name."""
    os.replace(self._part, self.path)
    self._from.unlink(missing_ok=True)

  def discard(self) -> None:
    """Removes every trace."""
    self._part.unlink(missing_ok=True)
    self._from.unlink(missing_ok=True)
    self.size, self.validator = 0, ''


def md5_of(path: Path) -> str:
  """Of a file, as hexadecimal digits."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'md5').hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
  """Keeps other processes away from the parts of a file; waits for one that is at it.

  The lock is `NAME.lock` beside the file, and goes when the process that holds it ends.
  """
  lock = path.with_name(f'{path.name}.lock')
  while True:
    with lock.open('ab') as file:
      _wait_for(file, path)
      if not _is_at(file, lock):
        continue  # the process before removed it on leaving
      try:
        yield
        return
      finally:
        with contextlib.suppress(OSError):
          lock.unlink()


def _wait_for(file: IO[bytes], path: Path) -> None:
  if fcntl is None:
    return
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    _LOG.warning('%s: another process is downloading it; waiting for that', path)
    fcntl.flock(file, fcntl.LOCK_EX)
  except OSError as error:  # not every network file system has locks
    _LOG.warning('%s: cannot be locked: %s', path, error.strerror)


def _is_at(file: IO[bytes], path: Path) -> bool:
  """Whether it is this file that has the name, not one that was there before."""
  with contextlib.suppress(FileNotFoundError):
    return os.path.samestat(os.fstat(file.fileno()), path.stat())
  return False
