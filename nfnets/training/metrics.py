"""Metrics of many steps gathered into one line."""

import time
from typing import Any

import jax
import numpy as np

# Means over the steps since the last line; of all others the last value counts.
_AVERAGED = {'loss', 'accuracy', 'gradient_norm', 'clipped'}


class Meter:
  """Gathers what steps return and how long they took."""

  def __init__(self, batch_size: int):
    """`batch_size`: examples in a step, over all hosts."""
    self._batch_size = batch_size
    self._gathered: list[dict[str, Any]] = []
    self.restart()

  def restart(self) -> None:
    """Begins to measure speed anew; what was gathered stays."""
    self._timed, self._waited, self._since = 0, 0.0, time.monotonic()

  def add(self, metrics: dict[str, Any], waited: float) -> None:
    """Adds one step: its metrics, still on the devices, and the seconds spent waiting for input."""
    self._gathered.append(metrics)
    self._waited += waited
    self._timed += 1

  def read(self) -> dict[str, float]:
    """The line for the steps since the last `read`; begins a new one."""
    rows = jax.device_get(self._gathered)
    seconds = max(time.monotonic() - self._since, 1e-9)  # a coarse clock may stand still
    line = {name: _summary(name, [row[name] for row in rows]) for name in rows[-1]}
    line['images_per_second'] = self._timed * self._batch_size / seconds
    line['step_seconds'] = seconds / max(1, self._timed)
    line['input_wait'] = self._waited / seconds
    self._gathered = []
    self.restart()
    return line

  def skip(self, seconds: float) -> None:
    """Leaves out time in which no step was taken, such as an evaluation."""
    self._since += seconds


def _summary(name: str, values: list[np.ndarray]) -> float:
  return float(np.mean(values)) if name in _AVERAGED else float(values[-1])
