"""Freed memory stays with the process: in processes of their own, for it cannot be undone."""

import json
import os
import platform
import subprocess
import sys

import pytest

from nfnets import accelerators, allocator

LARGE = 2**31 + 2**26  # more than the largest int, as a training step takes
SMALL = 2**26  # twice what glibc may keep on its own
PAGE = os.sysconf('SC_PAGE_SIZE')

# Twice, on another thread as XLA does: pages that the system handed out each time.
TAKE_AND_GIVE_BACK = """
import json, resource, sys, threading
from nfnets.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == 'keep' else None
faults = []
def take():
  for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b'x' * int(sys.argv[2])
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=take)
thread.start()
thread.join()
print(json.dumps([kept, faults]))
"""

linux = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='a setting of glibc')


def take(how, size, **environment):
  clean = {k: v for k, v in os.environ.items() if not k.startswith(('MALLOC_', 'GLIBC_TUNABLES'))}
  done = subprocess.run(
    [sys.executable, '-c', TAKE_AND_GIVE_BACK, how, str(size)],
    env=clean | environment,
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout)


def test_where_an_accelerator_computes_threads_keep_their_arenas(tmp_path, monkeypatch):
  (tmp_path / 'accel0').touch()
  monkeypatch.setattr(accelerators, '_DEVICES', (f'{tmp_path}/accel[0-9]*',))
  monkeypatch.delenv('JAX_PLATFORMS')
  assert allocator.keep_freed_memory() is False


@linux
def test_memory_is_asked_for_once():
  kept, (first, second) = take('keep', LARGE)
  assert kept is True
  assert first > LARGE // PAGE // 2
  assert second < LARGE // PAGE // 100


@linux
def test_without_it_every_page_is_asked_for_again():
  _, faults = take('leave', SMALL)
  assert min(faults) > SMALL // PAGE // 2


@linux
@pytest.mark.parametrize('name', ['MALLOC_ARENA_MAX', 'GLIBC_TUNABLES'])
def test_an_allocator_that_somebody_set_up_is_left_alone(name):
  values = {'MALLOC_ARENA_MAX': '4', 'GLIBC_TUNABLES': 'glibc.malloc.arena_max=4'}
  assert take('keep', SMALL, **{name: values[name]})[0] is False
