"""How much memory a run uses, in bytes."""

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

_PROCESSES = Path('/proc')


def memory_in_use(devices: Sequence[Any] | None = None) -> dict[str, float]:
  """Figures for the log; those that the platform does not tell are left out.

  Args:
    devices: by default those of this process.

  Returns:
    device_bytes: in use on the fullest device; on a CPU those of the host.
    device_peak_bytes: the most that any device had in use.
    host_bytes: physical memory of this process and of those that it started to decode.
  """
  host = host_bytes()
  statistics = [device.memory_stats() or {} for device in devices or jax.local_devices()]
  figures = {
    'device_bytes': _most(statistics, 'bytes_in_use', host),
    'device_peak_bytes': _most(statistics, 'peak_bytes_in_use', None),
    'host_bytes': host,
  }
  return {name: float(value) for name, value in figures.items() if value is not None}


def host_bytes() -> int | None:
  """Physical memory of this process and its children, in bytes; None where Linux is not."""
  processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
  resident = [_resident(process) for process in processes]
  return sum(filter(None, resident)) or None


def _most(statistics: list[dict[str, int]], name: str, otherwise: int | None) -> int | None:
  return max((one[name] for one in statistics if name in one), default=otherwise)


def _resident(process: int | None) -> int | None:
  """None for a process that has ended, too."""
  try:
    pages = (_PROCESSES / str(process) / 'statm').read_text().split()[1]
  except OSError:
    return None
  return int(pages) * os.sysconf('SC_PAGE_SIZE')
