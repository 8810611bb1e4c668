"""States of a run on disk: whole or absent.  The only module that knows Orbax."""

import errno
import functools
import json
import logging
import os
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp

from nfnets.errors import InputError, RunError
from nfnets.training.agreement import gather, together
from nfnets.training.distributed import is_first

_PASSED_OVER = 'passed-over-'
_LOG = logging.getLogger(__name__)


def _is_news(record: logging.LogRecord) -> bool:
  """Not so the tracebacks of saves that failed: Orbax logs each before it raises the error."""
  return not (record.exc_info and f'{os.sep}orbax{os.sep}' in record.pathname + record.getMessage())


for _name in ('absl', 'asyncio'):
  logging.getLogger(_name).addFilter(_is_news)


class Checkpoints:
  """The numbered states in one folder; the newest few are kept.

  A save goes to a temporary folder that is renamed when it is whole, on a thread of its own.  What
  a killed process left half-written or half-deleted is passed over on restore, and named.
  """

  def __init__(self, folder: str | os.PathLike[str], *, keep: int = 2, read_only: bool = False):
    """Makes `folder` if need be; at least two states are kept.

    With `read_only` nothing is made or removed, nothing may be saved: a run may be at work.
    """
    # Orbax deletes what it no longer keeps in place: a kill there must not hit the only whole
    # state.
    options = ocp.CheckpointManagerOptions(
      max_to_keep=max(2, keep),
      create=not read_only,
      cleanup_tmp_directories=not read_only,
      enable_async_checkpointing=True,
    )
    self._read_only = read_only
    self._folder = os.path.abspath(folder)
    try:
      if not read_only:
        os.makedirs(self._folder, exist_ok=True)  # Orbax would fail on a thread, unheard
      self._manager = ocp.CheckpointManager(self._folder, options=options)
    except OSError as error:
      raise InputError(f'{self._folder} cannot hold checkpoints: {error.strerror}') from error

  def steps(self) -> list[int]:
    """The numbers of all states found, oldest first; not all need be whole."""
    return sorted(self._manager.all_steps())

  def save(self, step: int, state: Any) -> None:
    """Begins to write `state`, unless that step is there; its buffers may be reused at once.

    Here, and in `wait` and `close`, comes what the save before failed with: `disk_trouble` knows
    it where it was the disk.

    Raises:
      OSError: there is less room on the disk than the state takes; nothing was written.
    """
    if step not in self._manager.all_steps():
      self._check_room(state)
      self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(state)))

  def _check_room(self, state: Any) -> None:
    """TensorStore would find out, but litters the terminal with tracebacks."""
    disk = shutil.disk_usage(self._folder)
    needed = sum(getattr(leaf, 'nbytes', 0) for leaf in jax.tree.leaves(state))  # of arrays
    if disk.total and disk.free < needed:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._folder)

  def restore_newest(self, like: Any) -> Any | None:
    """The newest whole state, or None if there is none at all.

    Args:
      like: a tree of `jax.ShapeDtypeStruct`s with shardings, of the state's shapes.

    Raises:
      InputError: there are states, but none can be read.
    """
    # The item is named: Orbax would guess from what it finds in the folder, broken states included.
    wanted = ocp.args.Composite(state=ocp.args.StandardRestore(like))
    # Process 0 says what there is: file systems show a new folder here earlier than there.
    steps: list[int] = json.loads(gather(json.dumps(self.steps()))[0])[::-1]
    failures = []
    for step in steps:
      try:
        state = together(functools.partial(self._manager.restore, step, args=wanted))['state']
      except Exception as error:  # whatever Orbax says of it, it is no whole state
        failures.append((step, error))
        _LOG.warning('checkpoint %d in %s is passed over: %s', step, self._folder, _line(error))
        continue
      if not self._read_only:
        self._set_aside([broken for broken, _ in failures])
      return state
    if failures:
      step, error = failures[0]
      raise InputError(
        f'none of the {len(steps)} checkpoints in {self._folder} can be restored; '
        f'the newest, {step}: {_line(error)}'
      )
    return None

  def _set_aside(self, steps: list[int]) -> None:
    """Renames states that were passed over, so that the run can save these steps again.

    They are not deleted: what failed once, such as a disk that did not answer, may be read later.
    """
    together(lambda: [self._rename(step) for step in steps if is_first()])
    if steps:
      self._manager.reload()

  def _rename(self, step: int) -> None:
    aside = os.path.join(self._folder, f'{_PASSED_OVER}{step}')
    if os.path.exists(aside):
      shutil.rmtree(aside)
    os.rename(os.path.join(self._folder, str(step)), aside)

  def wait(self) -> None:
    """Waits until all is written."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits until all is written, and ends the threads that write."""
    self.wait()
    self._manager.close()

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, kind: type[BaseException] | None, *unused: object) -> None:
    # All processes end alike or with a `RunError`; where one fails in another way, the others will
    # never come to where it would wait for them.
    if kind is None:
      self.close()
    elif jax.process_count() == 1 or issubclass(kind, RunError):
      try:
        self.close()
      except Exception as error:  # a person is to hear of what failed first
        _LOG.warning('the last checkpoint was not saved in %s: %s', self._folder, _line(error))


def tell_newest(step: int | None) -> str:
  """Part of a sentence on what a run can go on from."""
  return 'nothing was saved yet' if step is None else f'the last checkpoint is that of step {step}'


def _line(error: Exception) -> str:
  return f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
