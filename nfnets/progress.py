"""How far long work has come, on one line."""

import sys
import time
from collections.abc import Callable
from typing import Literal, NamedTuple, TextIO

Unit = Literal['MB', 'images', 'steps']


class _Scale(NamedTuple):
  size: float
  decimals: int
  decimals_of_speed: int


_SCALES: dict[Unit, _Scale] = {
  'MB': _Scale(1e6, 1, 1),
  'images': _Scale(1, 0, 0),
  'steps': _Scale(1, 0, 1),
}
_PAUSE = 0.1  # seconds between two pictures of the line on a terminal
_STEP = 10  # percent between two lines elsewhere
_SILENCE = 30.0  # seconds between two lines where the percentage is not known


class Progress:
  """Call it with what is done so far, and what there is in all or None where that is not known.

  On a terminal one line is drawn again and again; elsewhere, as in a log, there is a line for every
  tenth of the work.

  Args:
    label: what the line begins with.
    unit: 'MB' to be called with bytes, 'images' with images, 'steps' with steps.
    stream: where it goes; stderr by default.
    clock: seconds, as `time.monotonic` counts them.
  """

  def __init__(
    self,
    label: str,
    unit: Unit = 'MB',
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    self._label = label
    self._unit, self._scale = unit, _SCALES[unit]
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

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, *unused: object) -> None:
    self.close()

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
    speed = f'{rate / self._scale.size:,.{self._scale.decimals_of_speed}f} {self._unit}/s'
    if not total:
      return f'{self._label}: {self._amount(done)} {self._unit}, {speed}'
    line = (
      f'{self._label}: {100 * done // total:3d} %, {self._amount(done)} of {self._amount(total)} '
      f'{self._unit}'
    )
    if done == total:
      return f'{line}, {speed}'
    return f'{line}, {speed}, {clock_time((total - done) / rate)} left' if rate else line

  def _amount(self, number: float) -> str:
    return f'{number / self._scale.size:,.{self._scale.decimals}f}'


def clock_time(seconds: float) -> str:
  """Minutes and seconds, '1:05', or hours before them, '2:01:05'."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
