"""What is timed, and what is made of it."""

import itertools
import time

import jax
import pytest

from nfnets.benchmarks import timing


def test_groups_are_as_long_as_asked_and_the_warm_up_is_not_among_them(monkeypatch) -> None:
  """A clock that every call moves: 100 s for the first, 10 s while warm, 2 s from then on."""
  now, lasts = [0.0], itertools.chain([100.0, 10.0, 4.0], itertools.repeat(2.0))
  monkeypatch.setattr(time, 'perf_counter', lambda: now[0])
  waited = []

  def call() -> int:
    now[0] += next(lasts)
    return len(waited)

  timed = timing.time_calls(call, waited.append, groups=3, seconds=9.0)
  assert timed == timing.Timing(100.0, [2.0, 2.0, 2.0])
  assert len(waited) == 1 + 2 + 3  # once for a group
  assert now[0] == 114 + 3 * 3 * 2  # three calls of what was thought to be 4 s


def test_a_product_has_a_multiply_and_an_add_for_each_of_side_cubed() -> None:
  assert timing.product_rate(100, timing.Timing(9.0, [1.0, 4.0, 2.0])) == 2e6 / 2


def test_the_matmul_rate_is_that_of_the_product(monkeypatch) -> None:
  shapes = []

  def time_calls(call, **options):
    shapes.append((call().shape, call().dtype))
    return timing.Timing(1.0, [0.5])

  monkeypatch.setattr(timing, 'time_calls', time_calls)
  monkeypatch.setattr(timing, 'matrix_side', lambda platform: 8)
  assert timing.matmul_rate(jax.devices()[0], 'bfloat16') == pytest.approx(2 * 8**3 / 0.5)
  assert shapes == [((8, 8), jax.numpy.bfloat16)]


def test_a_cpu_holds_what_the_process_does() -> None:
  before = timing.process_memory()
  assert 10e6 < before <= timing.peak_memory(jax.devices()[0]) <= timing.process_memory()
