"""The folder of one run: whose it is, and what lies where in it."""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from nfnets.disk import write_whole
from nfnets.errors import InputError
from nfnets.training.agreement import gather, together
from nfnets.training.config import Config, differences, from_json, to_json
from nfnets.training.distributed import is_first

_CONFIG = 'config.json'
_DATA = 'data.json'
_LOCK = '.lock'
_MARK = '.shared'
_MARK_SECONDS = 30  # for which network file systems may show what is no longer so
_CHECKPOINTS = 'checkpoints'


def checkpoint_folder(workdir: Path) -> Path:
  """Where the states of the run lie."""
  return workdir / _CHECKPOINTS


def has_states(workdir: Path) -> bool:
  """Whether there are checkpoints, whole or not."""
  return newest_state(workdir) is not None


def newest_state(workdir: Path) -> int | None:
  """The step of the newest checkpoint, whole or not; None where there is none."""
  folder = checkpoint_folder(workdir)
  names = os.listdir(folder) if folder.is_dir() else []
  return max((int(name) for name in names if name.isdigit()), default=None)


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


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
  """`locked` for all processes of a run: process 0 has the lock, and all see its folder.

  Raises:
    InputError: as `locked`; or the folder of another process is not that of process 0.
  """
  if jax.process_count() == 1:
    with locked(workdir):
      yield
    return
  (mark, *_) = gather(secrets.token_hex(8))
  with contextlib.ExitStack() as stack:
    together(lambda: stack.enter_context(locked(workdir)) if is_first() else None)
    together(lambda: _set_mark(workdir, mark) if is_first() else None)
    together(lambda: None if is_first() else _find_mark(workdir, mark))
    if is_first():
      (workdir / _MARK).unlink()
    yield


def _set_mark(workdir: Path, mark: str) -> None:
  try:
    (workdir / _MARK).write_text(mark, encoding='utf-8')
  except OSError as error:
    raise InputError(f'workdir={str(workdir)!r} cannot be written: {error.strerror}') from error


def _find_mark(workdir: Path, mark: str) -> None:
  end = time.monotonic() + _MARK_SECONDS
  while time.monotonic() < end:
    with contextlib.suppress(OSError):
      if (workdir / _MARK).read_text(encoding='utf-8') == mark:
        return
    time.sleep(0.1)
  raise InputError(
    f'workdir={str(workdir)!r} is not the folder of process 0 (nothing of it came within '
    f'{_MARK_SECONDS} s): a run of several machines needs a folder that all of them share'
  )


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
    write_whole(workdir / _CONFIG, to_json(config).encode())
    write_whole(workdir / _DATA, f'{json.dumps(data, indent=2)}\n'.encode())
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
