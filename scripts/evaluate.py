#!/usr/bin/env python3
"""Evaluates the newest checkpoint of a run on held-out images, each counted once.

Examples:
  scripts/evaluate.py --workdir=runs/quickstart
  scripts/evaluate.py --workdir=runs/quickstart --raw --split=train --json=scores.json
"""

import dataclasses
import json
import os
from pathlib import Path

from absl import flags

from nfnets import command_line
from nfnets.errors import InputError
from nfnets.training.evaluate import evaluate_run
from nfnets.training.workdir import as_folder

WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run.', required=True)
RAW = flags.DEFINE_bool('raw', False, 'Take the last parameters, not their moving average.')
DATA_DIR = flags.DEFINE_string('data_dir', None, "Where prepared data lies; the run's by default.")
SPLIT = flags.DEFINE_string('split', None, "Which part of the data; the run's by default.")
BATCH_SIZE = flags.DEFINE_integer(
  'batch_size', None, "Images at a time; the run's by default.", lower_bound=1
)
JSON = flags.DEFINE_string('json', None, 'Also write the result to this file.')


def main(argv: list[str]) -> None:
  """Evaluates."""
  if argv[1:]:
    raise InputError(f'{argv[1]!r} is no flag; --help shows an example')
  if JSON.value:
    _check_writable(Path(JSON.value))  # before the work, not after it
  result = evaluate_run(
    as_folder('--workdir', WORKDIR.value),
    averaged=not RAW.value,
    data_dir=DATA_DIR.value,
    split=SPLIT.value,
    batch_size=BATCH_SIZE.value,
  )
  if JSON.value:
    _write(Path(JSON.value), dataclasses.asdict(result))
  scores = result.scores
  print(
    f'{result.model} of {result.workdir}, step {result.step}, {result.parameters} parameters, on '
    f'{scores.examples} images of {result.dataset} {result.split}: accuracy {scores.accuracy:.2%}, '
    f'top-5 {scores.top5:.2%}, loss {scores.loss:.4f}, unreadable {scores.unreadable}'
    + (f'; written to {JSON.value}' if JSON.value else '')
  )


def _check_writable(path: Path) -> None:
  if path.is_dir():
    raise InputError(f'--json={path} is a folder; name a file')
  if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
    raise InputError(f'--json={path}: {path.parent} is not a folder that can be written to')


def _write(path: Path, result: dict[str, object]) -> None:
  try:
    path.write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')
  except OSError as error:
    raise InputError(f'--json={path} cannot be written: {error.strerror}') from error


if __name__ == '__main__':
  command_line.run(main)
