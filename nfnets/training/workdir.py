"""The folder of one run: whose it is, and what lies where in it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nfnets.errors import InputError
from nfnets.training.config import Config, differences, from_json, to_json

_CONFIG = 'config.json'
_DATA = 'data.json'
_CHECKPOINTS = 'checkpoints'


def checkpoint_folder(workdir: Path) -> Path:
  """Where the states of the run lie."""
  return workdir / _CHECKPOINTS


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


def claim(workdir: Path, config: Config, data: Mapping[str, Any], *, force: bool = False) -> None:
  """Makes `workdir` the folder of the run `config`, or takes it up if it is that already.

  Args:
    workdir: made if it does not exist.
    config: stored there as `config.json`.
    data: what identifies the datasets of the run, as JSON values; stored as `data.json`.
    force: take the folder over even if it belongs to another run.

  Raises:
    InputError: the folder belongs to another run, or is none that a run can have.
  """
  changed = [] if force else _changes(workdir, config, data)
  if changed:
    raise InputError(
      f'workdir={str(workdir)!r} belongs to another run ({"; ".join(changed)}): '
      'choose another folder, or --force to go on with the new values'
    )
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    _write(workdir / _CONFIG, to_json(config))
    _write(workdir / _DATA, json.dumps(data, indent=2) + '\n')
  except OSError as error:
    raise InputError(f'workdir={str(workdir)!r} cannot be written: {error}') from error


def _changes(workdir: Path, config: Config, data: Mapping[str, Any]) -> list[str]:
  """What tells the run in `workdir` from this one, a line each."""
  if not os.path.exists(workdir / _CONFIG):
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
