"""Trying a claim: its cells one after the other, then the verdict and the picture."""

import io
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from nfnets.claims.claim import Claim, Scale, Setting, Source
from nfnets.claims.outcome import Outcome, find_setting, judged
from nfnets.claims.results import (
  Found,
  found,
  picture_file,
  read_results,
  results_file,
  write_results,
)
from nfnets.data.folders import find_dataset, find_folder
from nfnets.disk import write_whole
from nfnets.errors import InputError
from nfnets.progress import Progress, clock_time

_SIZE = (9.0, 4.0)  # inches; a claim may choose another
_DPI = 100


def try_claim(
  claim: Claim,
  scale: Scale,
  *,
  folder: Path,
  data_dir: Path,
  force: bool = False,
  say: Callable[[str], None] | None = None,
) -> Outcome:
  """Measures the cells that are missing, judges, and draws.

  Every cell is kept as soon as it is measured: after an interruption the next call goes on.

  Args:
    claim: which one.
    scale: how large.
    folder: keeps results and pictures; made if need be.
    data_dir: holds prepared datasets.
    force: measure all cells again.
    say: takes a line of progress; by default standard error does.

  Raises:
    InputError: there is no such setting, its dataset is not prepared, or the folder or the results
      in it cannot be used.
  """
  say = _say if say is None else say
  setting, path = find_setting(claim, scale), results_file(folder, claim, scale)
  _make(folder)
  kept = {} if force else read_results(path, claim, scale)
  missing = [name for name in setting.cells if name not in kept]
  if missing:
    check_dataset(setting, data_dir)
  for name in missing:
    number = 1 + list(setting.cells).index(name)
    say(f'{claim.name}: cell {number} of {len(setting.cells)}, {name}{_left(setting, kept)}')
    kept[name] = _measured(claim, name, setting.cells[name], data_dir)
    write_results(path, claim, scale, kept)
  outcome = judged(claim, scale, {name: kept[name] for name in setting.cells})
  write_whole(picture_file(folder, claim, scale), picture(outcome))
  say(f'{claim.name}: {outcome.verdict}, {clock_time(outcome.seconds)} for all cells')
  return outcome


def check_dataset(setting: Setting, data_dir: Path) -> None:
  """Raises `InputError`, with the command that prepares it, where the dataset is missing."""
  if setting.dataset is not None:
    find_folder(data_dir, find_dataset(setting.dataset, data_dir))


def picture(outcome: Outcome) -> bytes:
  """What was found, as a PNG."""
  figure = Figure(figsize=_SIZE, layout='constrained')
  outcome.claim.draw(figure, outcome.results)
  stream = io.BytesIO()
  figure.savefig(stream, format='png', dpi=_DPI, metadata={'Software': None})
  return stream.getvalue()


def _make(folder: Path) -> None:
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f'--results={folder} is no folder to write to: {error.strerror}') from error


def _measured(claim: Claim, name: str, cell: Any, data_dir: Path) -> Found:
  began = time.monotonic()
  with Progress(f'  {name}', 'steps') as progress:
    measured = claim.measure(cell, Source(data_dir, progress))
  return found(cell, measured, time.monotonic() - began)


def _left(setting: Setting, kept: Mapping[str, Found]) -> str:
  """The time that the cells before let expect for the rest."""
  if not kept:
    return ''
  mean = sum(one.seconds for one in kept.values()) / len(kept)
  return f', about {clock_time(mean * (len(setting.cells) - len(kept)))} left for all'


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)
