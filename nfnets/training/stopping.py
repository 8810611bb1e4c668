"""Leaving a run when somebody asks: SIGTERM from a scheduler, Ctrl-C from a person."""

import signal
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils


class StopFlag:
  """Set by SIGTERM or SIGINT while in a `with` block; a second signal acts as it always did.

  All processes of a run see it at the same step: with several, JAX's preemption service catches
  SIGTERM and spreads it.
  """

  def __init__(self) -> None:
    self._asked = False
    self._before: dict[signal.Signals, Any] = {}

  def __enter__(self) -> 'StopFlag':
    if jax.process_count() == 1:
      self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}
    return self

  def __exit__(self, *unused: object) -> None:
    self._restore()

  def at(self, step: int) -> bool:
    """Whether to stop after `step`; to be called on every process at every step."""
    if jax.process_count() == 1:
      return self._asked
    return multihost_utils.reached_preemption_sync_point(step)

  def _ask(self, signum: int, frame: FrameType | None) -> None:
    self._asked = True
    self._restore()

  def _restore(self) -> None:
    for one, handler in self._before.items():
      signal.signal(one, handler)
    self._before = {}
