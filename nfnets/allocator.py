"""Memory that is freed stays with the process, so that the next step need not ask for it again.

XLA takes the memory for the temporary arrays of a program from `malloc`, afresh for every call, and
glibc gives so large a piece back to the system as soon as it is freed.  On CPUs the next step then
waits until the system has cleared the same pages again: a fifth of a training step of NFNet-F0.
"""

import ctypes
import os
import platform

from nfnets import accelerators

# Of <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_SETTINGS = (
  (_ARENA_MAX, 1),  # arenas of other threads hold no large pieces
  (_MMAP_MAX, 0),  # what is mapped alone is given back alone
  (_TRIM_THRESHOLD, -1),  # never, however much is free at its end
  (_TOP_PAD, 64 * 2**20),  # bytes to ask for at once
)
_OTHERS = ('MALLOC_', 'LD_PRELOAD', 'GLIBC_TUNABLES')


def keep_freed_memory() -> bool:
  """Has glibc's `malloc` keep what is freed, from here on, in all threads that start later.

  For commands, at their start: a process then holds the most that it ever needed.  Does nothing
  where there is no glibc, where the environment sets up the allocator or names another one, or on a
  machine with an accelerator: its programs do not use `malloc`, and the many threads that load
  images for it want arenas of their own.  `JAX_PLATFORMS=cpu` says that no accelerator is used.

  Returns:
    Whether it does.
  """
  if platform.libc_ver()[0] != 'glibc' or any(name.startswith(_OTHERS) for name in os.environ):
    return False
  if accelerators.may_be_used():
    return False
  mallopt = ctypes.CDLL(None).mallopt
  return all(mallopt(setting, value) == 1 for setting, value in _SETTINGS)
