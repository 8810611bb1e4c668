"""Numbers for TensorBoard."""

import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.summary import scalar

_FLUSH_SECONDS = 10


class Events:
  """A file of scalars; TensorBoard hides what earlier files of its folder say of the same steps.

  The caller writes, and not a thread as in tensorboardX's `SummaryWriter`: on a full disk that
  thread would die unheard, and the run wait for it for ever.

  Every method raises `OSError` where the disk does not take what is written.
  """

  def __init__(self, folder: Path, first_step: int):
    """Begins a file in `folder`, made if need be, for `first_step` and those after it."""
    folder.mkdir(parents=True, exist_ok=True)
    # The number of the process: a run may be taken up twice in a second.
    name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}'
    self._file = RecordWriter(str(folder / name))
    self._flushed = time.monotonic()
    self._write(Event(step=first_step, file_version='brain.Event:2'))
    self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Stores numbers of one step; what is not finite is left out, as TensorBoard shows none."""
    for name, value in scalars.items():
      if math.isfinite(value):
        self._write(Event(step=step, summary=scalar(name, value)))
    if time.monotonic() - self._flushed > _FLUSH_SECONDS:
      self._file.flush()
      self._flushed = time.monotonic()

  def close(self) -> None:
    """Writes what is left, and closes the file."""
    self._file.close()

  def _write(self, event: Event) -> None:
    event.wall_time = time.time()
    self._file.write(event.SerializeToString())
