"""Where downloaded weights are kept, and whether they may be downloaded."""

import os
from pathlib import Path

from nfnets.errors import InputError

_TRUE = {'1', 'true', 'yes', 'on'}
_FALSE = {'', '0', 'false', 'no', 'off'}


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


def is_offline(offline: bool | None, *variables: str) -> bool:
  """Whether nothing may be downloaded.

  Args:
    offline: what the caller says; None lets the environment decide.
    variables: names of environment variables, any of which forbids it when it is `1` or `true`.

  Raises:
    InputError: a variable is neither true nor false.
  """
  if offline is not None:
    return offline
  return any([_is_true(variable) for variable in variables])


def _is_true(variable: str) -> bool:
  value = os.environ.get(variable, '').strip().lower()
  if value not in _TRUE | _FALSE:
    raise InputError(f'{variable}={os.environ[variable]!r}: set it to 1 or to 0')
  return value in _TRUE


def _expanded(path: str) -> Path:
  try:
    return Path(path).expanduser()
  except RuntimeError as error:
    raise InputError(f'{path}: there is no such home: set NFNETS_CACHE to a folder') from error
