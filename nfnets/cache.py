"""Where nfnets keeps what it makes or downloads, and folders that nobody else can write to."""

import os
import stat
from pathlib import Path

from nfnets.errors import InputError

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
  """`$NFNETS_CACHE`, else `$XDG_CACHE_HOME/nfnets`, else `~/.cache/nfnets`; it need not exist.

  Raises:
    InputError: none of them names a folder: there is no home.
  """
  if own := os.environ.get('NFNETS_CACHE'):
    return _expanded(own)
  caches = os.environ.get('XDG_CACHE_HOME', '')
  # By the XDG specification a relative path is to be ignored.
  return _expanded(caches if os.path.isabs(caches) else '~/.cache') / 'nfnets'


def private_folder(folder: str | Path, argument: str) -> Path:
  """A folder for what is run as code, made for its owner alone if there is none.

  Args:
    folder: its path; `~` is the home of the user.
    argument: what the caller calls it, for the error.

  Raises:
    InputError: it cannot be used, or somebody else can write to it: what it holds is run.
  """
  try:
    path = Path(folder).expanduser().absolute()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
  except (OSError, RuntimeError) as error:
    raise InputError(f'{argument}={str(folder)!r} cannot be used: {error}') from error
  if status.st_uid != os.getuid() or status.st_mode & _OTHERS_MAY_WRITE:
    raise InputError(
      f'{argument}={str(folder)!r}: others can write there, and what it holds is run as code; '
      'give a folder of your own (chmod 700)'
    )
  if not os.access(path, os.W_OK | os.X_OK):
    raise InputError(f'{argument}={str(folder)!r} cannot be written to')
  return path


def _expanded(path: str) -> Path:
  try:
    return Path(path).expanduser()
  except RuntimeError as error:
    raise InputError(f'{path}: there is no such home: set NFNETS_CACHE to a folder') from error
