"""Where the time of a run goes: every second of it belongs to exactly one part."""

import time
from collections.abc import Callable
from typing import Literal, get_args

Part = Literal['start', 'first_step', 'steps', 'input', 'evaluation', 'checkpoints', 'other']
PARTS: tuple[Part, ...] = get_args(Part)


class Clock:
  """Cuts the time since it was made into laps, each of which is booked on one part.

  Nobody need say beforehand what comes: that the devices ran dry while a batch was fetched, say, is
  known afterwards only.
  """

  def __init__(self, *, now: Callable[[], float] = time.monotonic):
    """`now`: seconds, as `time.monotonic` counts them."""
    self._now = now
    self._since = now()
    self._spent = dict.fromkeys(PARTS, 0.0)

  def lap(self, part: Part) -> float:
    """Books the time since the last lap on `part`, and returns it in seconds."""
    before, self._since = self._since, self._now()
    self._spent[part] += self._since - before
    return self._since - before

  def spent(self, *parts: Part) -> float:
    """Seconds booked on these parts."""
    return sum(self._spent[part] for part in parts)

  def seconds(self) -> dict[str, float]:
    """Part -> seconds, of all parts; together the time from the start to the last lap."""
    return {part: self._spent[part] for part in PARTS}
