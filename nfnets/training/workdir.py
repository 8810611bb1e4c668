"""The folder of one run: whose it is, and what lies where in it."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nfnets.errors import InputError
from nfnets.training.config import Config, differences, from_json, to_json

_CONFIG = 'config.json'
_DATA = 'data.json'
_LOCK = '.lock'
_CHECKPOINTS = 'checkpoints'


def checkpoint_folder(workdir: Path) -> Path:
  """Where the states of the run lie."""
  return workdir / _CHECKPOINTS


def has_states(workdir: Path) -> bool:
  """Whether there are checkpoints, whole or not."""
  folder = checkpoint_folder(workdir)
  return folder.is_dir() and any(name.isdigit() for name in os.listdir(folder))


def read_config(workdir: Path) -> Config:
  """The config of the run in `workdir`.

  Raises:
    InputError: there is no run, or its config cannot be read.
  """
  path = workdir / _CONFIG
  try:
    return from_json(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    raise InputError(
      f'workdir={str(workdir)!r} holds no run: {path} is missing; scripts/train.py makes one'
    ) from None
  except (InputError, OSError, UnicodeDecodeError) as error:
    raise InputError(f'{path} cannot be read: {error}') from error


def as_folder(argument: str, value: str) -> Path:
  """The folder that a person named; `~` is the home folder.

  Raises:
    InputError: the name is empty, as a shell leaves it where a variable is not set.
  """
  if not value.strip():
    raise InputError(f'{argument}={value!r} names no folder')
  return Path(value).expanduser()


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
  """Keeps `workdir`, which is made if need be, from a second process while in a `with` block.

  Raises:
    InputError: another process has it, or it cannot be made.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    file = (workdir / _LOCK).open('w', encoding='utf-8')
  except OSError as error:
    raise InputError(f'workdir={str(workdir)!r} cannot be written: {error.strerror}') from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      raise InputError(f'workdir={str(workdir)!r} is in use by another process') from None
    yield


def check(workdir: Path, config: Config, data: Mapping[str, Any], *, force: bool = False) -> None:
  """Refuses a folder that holds checkpoints of another run; changes nothing.

  Args:
    workdir: need not exist.
    config: of the run.
    data: what identifies its datasets, as JSON values.
    force: take the folder over all the same.

  Raises:
    InputError: the folder belongs to another run.
  """
  changed = [] if force else _changes(workdir, config, data)
  if changed:
    raise InputError(
      f'workdir={str(workdir)!r} belongs to another run ({"; ".join(changed)}): '
      'choose another folder, or --force to go on with the new values'
    )


def claim(workdir: Path, config: Config, data: Mapping[str, Any]) -> None:
  """Makes `workdir` the folder of the run: stores `config.json` and `data.json`.

  Raises:
    InputError: the folder cannot be written.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    _write(workdir / _CONFIG, to_json(config))
    _write(workdir / _DATA, json.dumps(data, indent=2) + '\n')
  except OSError as error:
    raise InputError(f'workdir={str(workdir)!r} cannot be written: {error.strerror}') from error


def _changes(workdir: Path, config: Config, data: Mapping[str, Any]) -> list[str]:
  """What tells the run in `workdir` from this one, a line each."""
  if not os.path.exists(workdir / _CONFIG) or not has_states(workdir):
    return []
  changed = differences(read_config(workdir), config)
  if not changed and os.path.exists(workdir / _DATA):
    before = _read_data(workdir / _DATA)
    changed = [f'the {name} data changed' for name in data if before.get(name) != data[name]]
  return changed


def _read_data(path: Path) -> dict[str, Any]:
  try:
    data = json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError) as error:
    raise InputError(f'{path} cannot be read: {error}') from error
  return data if isinstance(data, dict) else {}


def _write(path: Path, text: str) -> None:
  """Whole or not at all."""
  whole = path.with_suffix('.tmp')
  whole.write_text(text, encoding='utf-8')
  os.replace(whole, path)
