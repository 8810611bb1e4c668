"""The memory of this process, as Linux tells it."""

import os
from pathlib import Path

from nfnets.errors import RunError

_STATM = Path('/proc/self/statm')


def resident_memory() -> int:
  """Bytes that this process has in memory now.

  Raises:
    RunError: this is not Linux.
  """
  if not _STATM.exists():
    raise RunError(f'the memory of a process is read from {_STATM}, which Linux alone has')
  return int(_STATM.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
