"""Metrics of many steps gathered into one line."""

from typing import Any

import jax
import numpy as np

from nfnets.training.clock import Clock

# Means over the steps since the last line, like all that begins with 'clipped'; of all others the
# last value counts.
_AVERAGED = ('loss', 'accuracy', 'gradient_norm', 'clipped')


class Meter:
  """Gathers what steps return and how long they took."""

  def __init__(self, batch_size: int, clock: Clock):
    """`batch_size`: examples in a step, over all hosts; `clock`: of the run."""
    self._batch_size, self._clock = batch_size, clock
    self._gathered: list[dict[str, Any]] = []
    self.restart()

  def restart(self) -> None:
    """Begins to measure speed anew; what was gathered stays."""
    self._timed = 0
    self._from = self._clock.spent('steps'), self._clock.spent('input')

  def add(self, metrics: dict[str, Any]) -> None:
    """Adds one step: its metrics, still on the devices."""
    self._gathered.append(metrics)
    self._timed += 1

  def read(self) -> dict[str, float]:
    """The line for the steps since the last `read`; begins a new one.

    How fast they were is told unless `restart` came after the last of them.

    Steps that changed nothing, as they were not finite, are counted ('bad_steps') and are no part
    of the means, unless there are no others.
    """
    rows = jax.device_get(self._gathered)
    good = [row for row in rows if not row['bad_steps']]
    line = {name: _summary(name, rows, good or rows) for name in rows[-1]}
    line['bad_steps'] = float(len(rows) - len(good))
    if self._timed:
      line |= self._speed()
    self._gathered = []
    self.restart()
    return line

  def _speed(self) -> dict[str, float]:
    steps, waited = self._clock.spent('steps'), self._clock.spent('input')
    waited -= self._from[1]
    seconds = max(steps - self._from[0] + waited, 1e-9)  # a coarse clock may stand still
    return {
      'images_per_second': self._timed * self._batch_size / seconds,
      'step_seconds': seconds / self._timed,
      'input_wait': waited / seconds,
    }


def _summary(name: str, rows: list[dict[str, Any]], good: list[dict[str, Any]]) -> float:
  if name.startswith(_AVERAGED):
    return float(np.mean([row[name] for row in good]))
  return float(rows[-1][name])
