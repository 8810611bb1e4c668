"""Downloading a file once."""

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from nfnets.errors import InputError
from nfnets.progress import Progress
from nfnets.weights.part_files import PartFile, locked, md5_of
from nfnets.weights.transfers import Patience, Report, Transfer, Unreachable

_LOG = logging.getLogger(__name__)
_PATIENCE = Patience()


def download(
  url: str,
  path: str | os.PathLike,
  *,
  size: int | None = None,
  md5: str | None = None,
  offline: bool = False,
  verify: bool = False,
  progress: Report | None = None,
  patience: Patience = _PATIENCE,
) -> Path:
  """Downloads a file, unless it is there already.

  Under its name the file is whole or absent: until then its bytes are in `NAME.part`, with which a
  later call goes on.  Several processes may ask for the same file: one of them downloads it.

  Args:
    url: `http://` or `https://`; the proxies that the environment names are used.
    path: where to; its folder is made.
    size: in bytes, where it is known.  It is checked even when the file is there already.
    md5: hexadecimal, where it is known.  It is checked when the file has come.
    offline: only a file that is there already will do; the network is not used.
    verify: check the md5 of a file that is there already, too.
    progress: by default it is shown on stderr.
    patience: when to give up.

  Returns:
    `path`.

  Raises:
    InputError: the file cannot be had or written, or is not the one that `size` and `md5` tell of.
      The line says how to do without a network.
  """
  path = Path(path)
  with _written(path):
    if not _is_there(path, size):
      if offline:
        raise InputError(
          f'{path}: {_lack(path, size)}, and downloads are off: fetch {url} with a browser and put '
          'it at that path, or give the file of weights itself, wherever it is'
        )
      path.parent.mkdir(parents=True, exist_ok=True)
      with locked(path):
        if not _is_there(path, size):  # the process that held the lock may have brought it
          _transfer(url, path, size, md5, progress, patience)
    elif verify and md5:
      check(path, md5)
  return path


def check(path: str | os.PathLike, md5: str) -> None:
  """Compares the md5 of a file with what it should be; reads all of it.

  Raises:
    InputError: it is another, or the file cannot be read.
  """
  try:
    found = md5_of(Path(path))
  except OSError as error:
    raise InputError(f'{path}: cannot be read: {error.strerror}') from error
  if found != md5:
    raise InputError(f'{path}: has md5 {found} instead of {md5}: remove it to download it again')


def _transfer(
  url: str,
  path: Path,
  size: int | None,
  md5: str | None,
  progress: Report | None,
  patience: Patience,
) -> None:
  with contextlib.closing(Progress(path.name)) as shown:

    def warn(line: str) -> None:
      shown.close()  # else the two would share a line
      _LOG.warning('%s', line)

    try:
      Transfer(url, PartFile(path), size, md5, patience, progress or shown, warn).run()
    except Unreachable as error:
      raise InputError(
        f'{url}: {error}; if a browser can fetch it, on any machine, put it at {path} or give '
        'the file of weights itself, wherever it is'
      ) from error


def _is_there(path: Path, size: int | None) -> bool:
  return path.exists() and size in (None, path.stat().st_size)


def _lack(path: Path, size: int | None) -> str:
  found = path.stat().st_size if path.exists() else None
  return 'is not there' if found is None else f'has {found} bytes instead of {size}'


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
  """Tells in one line why a file cannot be written."""
  try:
    yield
  except OSError as error:
    if error.errno == errno.ENOSPC:
      raise InputError(f'{path}: the disk is full; what has come stays in {path}.part') from error
    raise InputError(
      f'{path}: cannot be written: {error.strerror or error}; NFNETS_CACHE=DIR names another folder'
    ) from error
