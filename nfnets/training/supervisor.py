"""A command that is started again when it crashes."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LONGEST_WAIT = 60  # seconds


class Supervisor:
  """Runs a command until it comes to an end of its own.

  What dies by a signal (kill -9, an abort, too little memory) or leaves with an exit code that is
  not in `final` is started again, a little later each time.  SIGTERM and SIGINT are passed on;
  after one of them, nothing is started again.
  """

  def __init__(
    self,
    command: Sequence[str],
    *,
    restarts: int,
    final: Collection[int],
    newest: Callable[[], int | None],
    first_wait: float = 1.0,
  ):
    """Sees to `command`.

    Args:
      command: the program and its arguments.
      restarts: so many without a step between them that was saved.
      final: exit codes after which starting again would change nothing.
      newest: the step that was saved last, or None.
      first_wait: seconds before the first restart; it is twice as long before each next.
    """
    self._command, self._restarts, self._final = command, restarts, final
    self._newest, self._first_wait = newest, first_wait
    self._asked = threading.Event()
    self._child: subprocess.Popen[bytes] | None = None

  def run(self) -> int:
    """The exit code of the last start: 128 + n where signal n ended it, as shells say it."""
    before = {one: signal.signal(one, self._pass_on) for one in _SIGNALS}
    try:
      return self._run()
    finally:
      for one, handler in before.items():
        signal.signal(one, handler)

  def _run(self) -> int:
    used = 0  # restarts since the newest checkpoint became newer
    while True:
      saved = self._newest()
      code = self._start()
      if self._asked.is_set() or code in self._final or -code in _SIGNALS:
        return _shell_code(code)
      now = self._newest()
      progress = now is not None and (saved is None or now > saved)
      used = 0 if progress else used
      if used == self._restarts:
        _tell(f'the run {_ended(code)}; given up after {used} restarts without a new checkpoint')
        return _shell_code(code)
      wait = min(_LONGEST_WAIT, self._first_wait * 2**used)
      used += 1
      place = 'the beginning' if now is None else f'step {now}'
      _tell(
        f'the run {_ended(code)}; restart {used} of {self._restarts}, from {place}, in {wait:g} s'
      )
      if self._asked.wait(wait):
        return _shell_code(code)

  def _start(self) -> int:
    with subprocess.Popen(self._command) as self._child:
      if self._asked.is_set():  # before there was anybody to pass it on to
        self._child.terminate()
      return self._child.wait()

  def _pass_on(self, signum: int, frame: FrameType | None) -> None:
    self._asked.set()
    if self._child is not None:
      self._child.send_signal(signum)  # does nothing to one that has ended


def _ended(code: int) -> str:
  """What ended a process, for people."""
  if code >= 0:
    return f'ended with exit code {code}'
  try:
    return f'was ended by {signal.Signals(-code).name}'
  except ValueError:
    return f'was ended by signal {-code}'


def _shell_code(code: int) -> int:
  return code if code >= 0 else 128 - code


def _tell(line: str) -> None:
  sys.stderr.write(f'{line}\n')
  sys.stderr.flush()
