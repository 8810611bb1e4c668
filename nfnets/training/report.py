"""What a run tells while it goes: lines to read, `metrics.jsonl`, TensorBoard events, a picture."""

import contextlib
import dataclasses
import datetime
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nfnets.disk import write_whole
from nfnets.errors import InputError
from nfnets.training.curves import draw_curves
from nfnets.training.events import Events
from nfnets.training.scores import Scores

METRICS = 'metrics.jsonl'
CURVES = 'curves.png'
_EVENTS = 'tensorboard'
_PARTS = {'first_step': 'first step (compilation)', 'input': 'waiting for input'}
"""Of a run's time, where a person is told more than the metrics' name."""


class Report:
  """Writes the metrics of a run into its folder and tells a person how it goes.

  The JSON lines are the source of truth.  A run that is taken up at an earlier step loses the lines
  behind it, so that every step is told once.

  Every method raises `OSError` where the disk does not take what is written.
  """

  def __init__(self, workdir: Path, *, start_step: int, total_steps: int):
    """Takes up the metrics of `workdir` at `start_step`."""
    self._workdir = workdir
    self._total = total_steps
    self._from_step, self._from_time = start_step, time.monotonic()
    self._is_drawn = False
    _drop_after(workdir / METRICS, start_step)
    self._lines = (workdir / METRICS).open('a', encoding='utf-8')
    self._events = Events(workdir / _EVENTS, start_step + 1)

  def write(self, step: int, kind: str, metrics: Mapping[str, float]) -> None:
    """Stores the metrics of one step; `kind` is 'train', 'eval' or 'time'."""
    line = {'step': step, 'kind': kind} | {k: _json_number(v) for k, v in metrics.items()}
    self._is_drawn = self._is_drawn and kind == 'time'  # which is in no picture
    self._lines.write(json.dumps(line) + '\n')
    self._lines.flush()
    self._events.write(step, {f'{kind}/{name}': value for name, value in metrics.items()})

  def tell_look(self, raw: Scores, ema: Scores) -> None:
    """The scores of one batch before the first step; they are not stored among whole splits'."""
    self.say(
      f'before the first step: loss {raw.loss:.4f}, accuracy {raw.accuracy:.2%}, averaged '
      f'parameters {ema.loss:.4f}, {ema.accuracy:.2%} of {ema.examples} evaluation images'
    )

  def tell_first_step(self, seconds: float) -> None:
    """How long the first step took; the ETA counts from there."""
    self.say(f'the first step took {seconds:.0f} s, most of it compilation')
    self._from_step, self._from_time = self._from_step + 1, time.monotonic()

  def tell_train(self, step: int, metrics: Mapping[str, float]) -> None:
    """The progress line, with speed and ETA once they are known.

    Steps that changed nothing are told at its end.
    """
    skipped, done = int(metrics['bad_steps']), step - self._from_step
    parts = [
      f'step {step}/{self._total}  {step / self._total:6.1%}',
      f'loss {metrics["loss"]:.4f}',
      f'accuracy {metrics["accuracy"]:.3f}',
    ]
    speed = metrics.get('images_per_second')
    if speed is not None:
      left = (time.monotonic() - self._from_time) / max(1, done) * (self._total - step)
      parts += [
        f'{speed:.0f} images/s' if speed >= 10 else f'{speed:.2g} images/s',
        f'ETA {datetime.timedelta(seconds=round(left))}',
      ]
    if skipped:
      parts.append(f'{skipped} steps changed nothing: not finite')
    self.say('  '.join(parts))

  def tell_eval(self, step: int, raw: Scores, ema: Scores) -> None:
    """Stores and tells the scores of the parameters and of their average."""
    averaged = {f'ema_{name}': value for name, value in dataclasses.asdict(ema).items()}
    self.write(step, 'eval', dataclasses.asdict(raw) | averaged)
    self.say(
      f'evaluation at step {step}: accuracy {raw.accuracy:.2%}, '
      f'averaged parameters {ema.accuracy:.2%} of {ema.examples} images'
    )

  def tell_time(self, step: int, seconds: Mapping[str, float]) -> None:
    """Stores and tells where the time of this process went: part of the run -> seconds."""
    total = sum(seconds.values())
    self.write(step, 'time', {**seconds, 'total': total})
    parts = [
      f'{_PARTS.get(name, name)} {spent:.1f} s ({spent / max(total, 1e-9):.0%})'
      for name, spent in seconds.items()
    ]
    self.say(f'time: {total:.1f} s = {" + ".join(parts)}')

  def say(self, text: str) -> None:
    """One line on standard output."""
    try:
      print(text, flush=True)
    except OSError as error:
      error.filename = 'standard output'
      raise

  def draw(self) -> Path | None:
    """Draws the learning curves; None if there is nothing to draw yet."""
    self._is_drawn = True
    return draw_curves(read_metrics(self._workdir / METRICS), self._workdir / CURVES)

  def close(self) -> None:
    """Draws the curves, if there is news, and closes the files."""
    with contextlib.closing(self._events), contextlib.closing(self._lines):
      if not self._is_drawn:
        self.draw()

  def __enter__(self) -> 'Report':
    return self

  def __exit__(self, kind: type[BaseException] | None, *unused: object) -> None:
    # A person is to hear of what failed first.
    with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
      self.close()


class Silence(Report):
  """The report of every process but the first, which speaks and writes for all."""

  def __init__(self, workdir: Path, *, start_step: int, total_steps: int):
    self._total = total_steps
    self._from_step, self._from_time = start_step, time.monotonic()

  def write(self, step: int, kind: str, metrics: Mapping[str, float]) -> None:
    """Does nothing."""

  def say(self, text: str) -> None:
    """Does nothing."""

  def draw(self) -> None:
    """Does nothing."""

  def close(self) -> None:
    """Does nothing."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
  """The lines of a `metrics.jsonl`; a last line cut off by a kill is left out.

  Raises:
    InputError: another line is no metrics.
  """
  if not path.exists():
    return []
  *whole, _ = path.read_text(encoding='utf-8').split('\n')
  return [_parsed(line, f'{path}, line {number}') for number, line in enumerate(whole, 1)]


def _parsed(line: str, where: str) -> dict[str, Any]:
  try:
    parsed = json.loads(line)
    if isinstance(parsed['step'], int) and isinstance(parsed['kind'], str):
      return parsed
  except (ValueError, KeyError, TypeError):
    pass
  raise InputError(f'{where}: {line[:40]!r} is no metrics; mend the file or move it away')


def _json_number(value: float) -> float | None:
  """JSON has no NaN and no infinity: they are null there."""
  return value if math.isfinite(value) else None


def _drop_after(path: Path, step: int) -> None:
  kept = [line for line in read_metrics(path) if line['step'] <= step]
  write_whole(path, ''.join(json.dumps(line) + '\n' for line in kept).encode())
