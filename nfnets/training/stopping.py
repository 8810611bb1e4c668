"""Leaving a run when somebody asks: SIGTERM from a scheduler, Ctrl-C from a person."""

import signal
import time
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

_ONE_REQUEST = 1.0  # seconds


class StopFlag:
  """Set by SIGTERM or SIGINT while in a `with` block; a second signal acts as it always did.

  Signals that come within a second are one: a scheduler or a terminal may tell this process and a
  supervisor, which passes it on.

  All processes of a run see it at the same step: with several, JAX's preemption service catches
  SIGTERM and spreads it, and SIGINT is made one.
  """

  def __init__(self) -> None:
    self._asked_at: float | None = None
    self._before: dict[signal.Signals, Any] = {}

  def __enter__(self) -> 'StopFlag':
    caught = (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else (signal.SIGINT,)
    self._before = {one: signal.signal(one, self._ask) for one in caught}
    return self

  def __exit__(self, *unused: object) -> None:
    self._restore()

  def at(self, step: int) -> bool:
    """Whether to stop after `step`; to be called on every process at every step."""
    if jax.process_count() == 1:
      return self._asked_at is not None
    return multihost_utils.reached_preemption_sync_point(step)

  def _ask(self, signum: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if self._asked_at is None:
      self._asked_at = now
      if jax.process_count() > 1:
        signal.raise_signal(signal.SIGTERM)
    elif now - self._asked_at > _ONE_REQUEST:
      self._restore()
      signal.raise_signal(signum)

  def _restore(self) -> None:
    for one, handler in self._before.items():
      signal.signal(one, handler)
    self._before = {}
