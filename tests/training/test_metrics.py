import types

import jax.numpy as jnp
import pytest

from nfnets.training import metrics
from nfnets.training.metrics import Meter


class Clock:
  """A clock that goes when told to."""

  def __init__(self):
    self.now = 1000.0

  def monotonic(self) -> float:
    return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
  clock = Clock()
  monkeypatch.setattr(metrics, 'time', types.SimpleNamespace(monotonic=clock.monotonic))
  return clock


def step(loss: float, rate: float = 0.1) -> dict[str, jnp.ndarray]:
  return {
    'loss': jnp.float32(loss),
    'accuracy': jnp.float32(loss / 8),
    'clipped': jnp.float32(loss / 16),
    'gradient_norm': jnp.float32(2 * loss),
    'learning_rate': jnp.float32(rate),
    'parameter_norm': jnp.float32(100 * rate),
    'bad_steps': jnp.int32(loss),
  }


def test_some_are_means_and_others_the_last_value(clock: Clock):
  meter = Meter(batch_size=32)
  for loss, rate in [(4, 0.25), (2, 0.5), (0, 0.75)]:
    meter.add(step(loss, rate), waited=0)
  clock.now += 1
  line = meter.read()
  assert {name: line[name] for name in step(0)} == {
    'loss': 2, 'accuracy': 0.25, 'clipped': 0.125, 'gradient_norm': 4,
    'learning_rate': 0.75, 'parameter_norm': 75, 'bad_steps': 0,
  }  # fmt: skip
  assert all(isinstance(value, float) for value in line.values())


def test_speed_and_waiting(clock: Clock):
  meter = Meter(batch_size=32)
  for _ in range(4):
    clock.now += 0.5
    meter.add(step(1), waited=0.125)
  line = meter.read()
  assert line['images_per_second'] == 64
  assert line['step_seconds'] == 0.5
  assert line['input_wait'] == 0.25


def test_a_line_begins_where_the_last_one_ended(clock: Clock):
  meter = Meter(batch_size=32)
  meter.add(step(8), waited=1)
  clock.now += 10
  meter.read()
  meter.add(step(2), waited=0)
  clock.now += 1
  line = meter.read()
  assert line['loss'] == 2
  assert line['images_per_second'] == 32
  assert line['input_wait'] == 0


def test_time_that_was_skipped_is_no_part_of_the_speed(clock: Clock):
  meter = Meter(batch_size=32)
  meter.add(step(1), waited=0)
  clock.now += 2
  meter.skip(0.5)
  assert meter.read()['images_per_second'] == pytest.approx(32 / 1.5)
  meter.add(step(1), waited=0)  # the next line counts its own time in full
  clock.now += 2
  assert meter.read()['images_per_second'] == 16


def test_after_a_restart_only_new_steps_are_timed(clock: Clock):
  meter = Meter(batch_size=32)
  clock.now += 60  # compilation
  meter.add(step(3), waited=30)
  meter.restart()
  meter.add(step(1), waited=0)
  clock.now += 1
  line = meter.read()
  assert line['images_per_second'] == 32
  assert line['input_wait'] == 0
  assert line['loss'] == 2


def test_a_line_right_after_a_restart_has_no_speed(clock: Clock):
  meter = Meter(batch_size=32)
  meter.add(step(3), waited=30)
  meter.restart()
  line = meter.read()
  assert (line['images_per_second'], line['input_wait'], line['loss']) == (0, 0, 3)
