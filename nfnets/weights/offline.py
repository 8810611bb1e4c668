"""Whether weights may be downloaded."""

import os

from nfnets.errors import InputError

_TRUE = {'1', 'true', 'yes', 'on'}
_FALSE = {'', '0', 'false', 'no', 'off'}


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
