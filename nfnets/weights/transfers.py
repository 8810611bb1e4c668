"""Bringing a file from a server, over lines that break."""

import shutil
import time
from collections.abc import Callable
from typing import NamedTuple

from nfnets.errors import InputError
from nfnets.weights import http_ranges
from nfnets.weights.part_files import PartFile

Report = Callable[[int, int | None], None]
"""Is told the bytes so far and the bytes in all, or None where these are not known."""

_LONGEST_PAUSE = 30.0


class Patience(NamedTuple):
  """How long to go on with a server that is in trouble."""

  attempts: int = 5
  """In a row, that bring nothing new."""
  pause: float = 1.0
  """Seconds before the second attempt; before each further one it is twice as long."""
  timeout: float = 30.0
  """Longest silence of the server, in seconds."""


class Unreachable(Exception):
  """Why a server gives no file."""


class Transfer(NamedTuple):
  """One file on its way."""

  url: str
  part: PartFile
  size: int | None
  """In bytes, where it is known."""
  md5: str | None
  """Hexadecimal, where it is known."""
  patience: Patience
  report: Report
  warn: Callable[[str], None]
  """Is told what goes wrong and is tried again."""

  def run(self) -> None:
    """Brings the file; what has come is kept for another time unless it is wrong.

    Raises:
      Unreachable: the server gives no file.
      InputError: it gives another file, or there is no room for it.
      OSError: the file cannot be written.
    """
    for is_last in (False, True):
      self._fill()
      found = self.part.md5() if self.md5 else None
      if found == self.md5:
        self.part.finish()
        return
      was_patched = self.part.is_patched
      self.part.discard()
      if is_last or not was_patched:
        raise InputError(f'{self.url}: has md5 {found} instead of {self.md5}: thrown away')
      self.warn(f'{self.url}: its parts do not fit together; beginning anew')

  def _fill(self) -> None:
    """Asks until all bytes are there."""
    furthest, failures = self.part.size, 0
    while True:
      try:
        if self._ask():
          return
        reason = f'the connection broke after {self.part.size} bytes'
      except http_ranges.Permanent as error:
        raise Unreachable(error) from error
      except http_ranges.Temporary as error:
        reason = str(error)
      failures = 0 if self.part.size > furthest else failures + 1
      furthest = max(furthest, self.part.size)
      if failures >= self.patience.attempts:
        raise Unreachable(f'{reason} ({failures} attempts)')
      pause = min(self.patience.pause * 2 ** max(0, failures - 1), _LONGEST_PAUSE)
      self.warn(f'{self.url}: {reason}; trying again in {pause:g} s')
      time.sleep(pause)

  def _ask(self) -> bool:
    """Asks once for the bytes that are missing; whether all are there now."""
    part = self.part
    if part.size == self.size:
      return True
    # Without a word for its version, only its md5 can tell whether the file is still the same.
    start = part.size if part.validator or self.md5 else 0
    with http_ranges.asked(
      self.url, start=start, validator=part.validator, timeout=self.patience.timeout
    ) as answer:
      if self.size is not None and answer.total not in (None, self.size):
        raise InputError(f'{self.url}: has {answer.total} bytes instead of {self.size}')
      total = self.size if answer.total is None else answer.total
      if not answer.start:
        part.restart(answer.validator)
      elif not _continues(answer, part):
        part.restart()
        return self._ask()
      self._check_room(total)
      self._append(answer, total)
    return total in (None, part.size)

  def _append(self, answer: http_ranges.Answer, total: int | None) -> None:
    done = answer.start
    self.part.is_patched = done > 0
    with self.part.opened() as file:
      for chunk in answer.chunks:
        file.write(chunk)
        done += len(chunk)
        self.report(done, total)
        if total is not None and done > total:
          break
    if total is not None and done > total:
      self.part.discard()
      raise InputError(f'{self.url}: has more than {total} bytes: thrown away')

  def _check_room(self, total: int | None) -> None:
    folder = self.part.path.parent
    missing, free = (total or 0) - self.part.size, shutil.disk_usage(folder).free
    if missing > free:
      raise InputError(f'{folder}: {missing:,} bytes are to come and only {free:,} are free')


def _continues(answer: http_ranges.Answer, part: PartFile) -> bool:
  """Whether the answer is for the file that the part is from: servers may not mind `If-Range`."""
  is_same = answer.validator in ('', part.validator) or not part.validator
  return is_same and (answer.total is None or answer.total >= part.size)
