"""Files that a person asks a command to write: refused before the work, not after it."""

import os
from pathlib import Path

from nfnets.errors import InputError


def check_writable(argument: str, value: str | None) -> None:
  """Raises `InputError` where a file cannot be written; None is none and passes."""
  if value is None:
    return
  path = Path(value).expanduser()
  if not value.strip() or path.is_dir():
    raise InputError(f'{argument}={value} is a folder; name a file')
  if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
    raise InputError(f'{argument}={value}: {path.parent} is not a folder that can be written to')


def write_text(argument: str, value: str, text: str) -> None:
  """Writes a file whole or not at all; raises `InputError` if that fails."""
  path = Path(value).expanduser()
  new = path.with_name(f'.{path.name}.{os.getpid()}.new')
  try:
    new.write_text(text, encoding='utf-8')
    os.replace(new, path)
  except OSError as error:
    new.unlink(missing_ok=True)
    raise InputError(f'{argument}={value} cannot be written: {error.strerror}') from error
