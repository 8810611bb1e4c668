"""Seconds of something that is done again and again, and how fast a device multiplies matrices."""

import math
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

GROUPS = 5
SECONDS = 1.0
"""What a timed group takes at least."""

_WARM_UP = 2
_WARM_UP_SECONDS = 3.0
"""Until then the heap of a process still grows: a step now and then waits for fresh pages."""
_PRODUCTS = 4


class Timing(NamedTuple):
  """How long calls took."""

  first: float
  """Seconds of the first call."""
  seconds: list[float]
  """Of one call, in each timed group of calls."""


def time_calls(
  call: Callable[[], Any],
  wait: Callable[[Any], Any] = jax.block_until_ready,
  *,
  groups: int = GROUPS,
  seconds: float = SECONDS,
) -> Timing:
  """Times calls in groups, after a warm-up that is not counted.

  Args:
    call: starts the work.
    wait: is given what the last call of a group returned, and returns when the work is done.
    groups: how many.
    seconds: of a group at least.
  """

  def timed(calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls - 1):
      call()
    wait(call())
    return (time.perf_counter() - start) / calls

  first = timed(1)
  warm = [timed(1) for _ in range(_WARM_UP)]
  while sum(warm) < min(_WARM_UP_SECONDS, 3 * seconds):
    warm.append(timed(1))
  once = min(warm)
  calls = max(1, math.ceil(seconds / once))
  return Timing(first, [timed(calls) for _ in range(groups)])


def matrix_side(platform: str) -> int:
  """Of matrices whose product keeps a device busy."""
  return 2048 if platform == 'cpu' else 8192


def product_rate(side: int, timing: Timing) -> float:
  """Operations a second, where a call is a product of two square matrices."""
  return 2 * side**3 / statistics.median(timing.seconds)


def matmul_rate(device: Any, precision: str) -> float:
  """Floating-point operations a second of a large matrix product of random numbers on a device."""
  side = matrix_side(device.platform)
  keys = jax.random.split(jax.device_put(jax.random.key(0), device))
  a, b = (jax.random.normal(key, (side, side), precision) for key in keys)
  product = jax.jit(jnp.matmul)
  return product_rate(side, time_calls(lambda: product(a, b), seconds=SECONDS / _PRODUCTS))


def peak_memory(device: Any) -> int | None:
  """Bytes that a device held at most; of a CPU, what this process did."""
  if device.platform == 'cpu':
    return process_memory()
  return (device.memory_stats() or {}).get('peak_bytes_in_use')


def process_memory() -> int:
  """Bytes that this process held at most."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
