import multiprocessing
import os
import resource
import time

import numpy as np
import pytest

from nfnets.training import memory
from nfnets.training.memory import host_bytes, memory_in_use

MB = 2**20


class Device:
  """One that tells of its memory; or not."""

  def __init__(self, **statistics: int):
    self.statistics = statistics

  def memory_stats(self) -> dict[str, int] | None:
    return self.statistics or None


def test_the_fullest_device_counts():
  devices = [
    Device(bytes_in_use=5, peak_bytes_in_use=7),
    Device(bytes_in_use=6, peak_bytes_in_use=6),
    Device(),
  ]
  found = memory_in_use(devices)
  assert (found['device_bytes'], found['device_peak_bytes']) == (6, 7)
  assert found['host_bytes'] > 50 * MB
  assert all(isinstance(value, float) for value in found.values())


def test_the_memory_of_a_cpu_is_that_of_the_host():
  found = memory_in_use()
  assert found.keys() == {'device_bytes', 'host_bytes'}
  assert found['device_bytes'] == found['host_bytes']
  assert found['host_bytes'] <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + MB


def test_what_is_allocated_shows():
  before = host_bytes()
  block = np.ones(100 * MB, np.uint8)
  after = host_bytes()
  assert 90 * MB < after - before < 110 * MB
  del block


def test_processes_that_decode_are_counted():
  alone = host_bytes()
  child = multiprocessing.get_context('spawn').Process(target=time.sleep, args=(60,))
  child.start()
  deadline = time.monotonic() + 60
  while host_bytes() < alone + 5 * MB:  # an interpreter takes more
    assert time.monotonic() < deadline
    time.sleep(0.01)
  child.kill()
  child.join()
  assert host_bytes() < alone + 5 * MB


def test_what_the_platform_does_not_tell_is_left_out(
  monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
):
  monkeypatch.setattr(memory, '_PROCESSES', tmp_path)
  assert host_bytes() is None
  assert memory_in_use([Device()]) == {}
  assert memory_in_use([Device(bytes_in_use=3)]) == {'device_bytes': 3}
