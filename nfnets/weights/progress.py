"""How far a download has come, on one line."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_MB = 1e6
_PAUSE = 0.1  # seconds between two pictures of the line on a terminal
_STEP = 10  # percent between two lines elsewhere
_SILENCE = 30.0  # seconds between two lines where the percentage is not known


class Progress:
  """Call it with the bytes so far and the bytes in all, or None where these are not known.

  On a terminal one line is drawn again and again; elsewhere, as in a log, there is a line for every
  tenth of the file.

  Args:
    label: what the line begins with.
    stream: where it goes; stderr by default.
    clock: seconds, as `time.monotonic` counts them.
  """

  def __init__(
    self,
    label: str,
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    self._label = label
    self._stream = sys.stderr if stream is None else stream
    self._clock = clock
    self._is_terminal = self._stream.isatty()
    self._began = self._shown = clock()
    self._first: int | None = None
    self._tenth = 0
    self._is_open = False

  def __call__(self, done: int, total: int | None) -> None:
    """Shows it, if it is time to."""
    now = self._clock()
    if self._first is None:
      self._first, self._began = done, now
    if not self._is_due(done, total, now):
      return
    self._shown = now
    line = self._line(done, total, now - self._began)
    # Not print(line): it writes the end of the line separately.
    self._stream.write(f'\r{line}\x1b[K' if self._is_terminal else f'{line}\n')
    self._stream.flush()
    self._is_open = self._is_terminal

  def close(self) -> None:
    """Ends the line."""
    if self._is_open:
      self._stream.write('\n')
      self._stream.flush()
    self._is_open = False

  def _is_due(self, done: int, total: int | None, now: float) -> bool:
    if self._is_terminal:
      return now - self._shown >= _PAUSE or done == total or not self._is_open
    if not total:
      return now - self._shown >= _SILENCE
    tenth = 100 * done // total // _STEP
    before, self._tenth = self._tenth, tenth
    return tenth > before

  def _line(self, done: int, total: int | None, seconds: float) -> str:
    rate = (done - (self._first or 0)) / seconds if seconds > 0 else 0.0
    speed = f'{rate / _MB:.1f} MB/s'
    if not total:
      return f'{self._label}: {done / _MB:.1f} MB, {speed}'
    line = f'{self._label}: {100 * done // total:3d} %, {done / _MB:.1f} of {total / _MB:.1f} MB'
    if done == total:
      return f'{line}, {speed}'
    return f'{line}, {speed}, {_time((total - done) / rate)} left' if rate else line


def _time(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
