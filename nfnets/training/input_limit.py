"""Telling a person that the devices wait for images, and what can be done."""

import os

THRESHOLD = 0.2
"""Share of the time above which waiting is worth a word."""
_PAUSE = 10  # lines of the log between two such words


class InputLimit:
  """Says when input is the limit, once in ten lines of the log at most."""

  def __init__(self, *, threads: int, workers: int, cores: int | None = None):
    """`threads` and `workers` as in the config; `cores` of this machine."""
    self._threads, self._workers = threads, workers
    self._cores = cores or _cores()
    self._silent = 0

  def word(self, waited: float) -> str | None:
    """What to say, if anything, of one line of the log.

    Args:
      waited: the share of the line's time in which devices had nothing to do.
    """
    self._silent = max(0, self._silent - 1)
    if waited <= THRESHOLD or self._silent:
      return None
    self._silent = _PAUSE
    return f'input is the limit: {waited:.0%} of the time went by waiting for images; {self._hint}'

  @property
  def _hint(self) -> str:
    busy = self._threads * max(1, self._workers)
    now = f'data.threads={self._threads} and data.workers={self._workers}'
    if busy >= self._cores:
      return f'{now} keep all {self._cores} cores of this machine busy: only more cores would help'
    return (
      f'{now} use {busy} of the {self._cores} cores of this machine: try more of either '
      '(workers are processes, which do not wait for one another)'
    )


def _cores() -> int:
  """Those that this process may use, where the system tells."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
