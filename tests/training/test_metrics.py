import jax.numpy as jnp
import pytest

from nfnets.training.clock import Clock
from nfnets.training.metrics import Meter


class Times:
  """A clock of a run, and the hand that turns it."""

  def __init__(self):
    self.now = 1000.0
    self.clock = Clock(now=lambda: self.now)

  def spend(self, seconds: float, part='steps') -> None:
    self.now += seconds
    self.clock.lap(part)


@pytest.fixture
def times() -> Times:
  return Times()


@pytest.fixture
def meter(times: Times) -> Meter:
  return Meter(32, times.clock)


def step(loss: float, rate: float = 0.1, bad: int = 0) -> dict[str, jnp.ndarray]:
  return {
    'loss': jnp.float32(loss),
    'accuracy': jnp.float32(loss / 8),
    'clipped': jnp.float32(loss / 16),
    'clipped_stage_0': jnp.float32(loss / 32),
    'gradient_norm': jnp.float32(2 * loss),
    'learning_rate': jnp.float32(rate),
    'parameter_norm': jnp.float32(100 * rate),
    'bad_steps': jnp.int32(bad),
  }


def test_some_are_means_and_others_the_last_value(times: Times, meter: Meter):
  for loss, rate in [(4, 0.25), (2, 0.5), (0, 0.75)]:
    meter.add(step(loss, rate))
  times.spend(1)
  line = meter.read()
  assert {name: line[name] for name in step(0)} == {
    'loss': 2, 'accuracy': 0.25, 'clipped': 0.125, 'clipped_stage_0': 0.0625, 'gradient_norm': 4,
    'learning_rate': 0.75, 'parameter_norm': 75, 'bad_steps': 0,
  }  # fmt: skip
  assert all(isinstance(value, float) for value in line.values())


def test_steps_that_changed_nothing_are_counted_and_are_no_part_of_the_means(meter: Meter):
  nan = float('nan')
  for loss, rate, bad in [(4, 0.25, 0), (nan, 0.5, 1), (nan, 0.6, 2), (2, 0.7, 0), (nan, 0.75, 1)]:
    meter.add(step(loss, rate, bad))
  line = meter.read()
  assert (line['bad_steps'], line['loss'], line['gradient_norm']) == (3, 3, 6)
  assert line['learning_rate'] == 0.75  # that of the last step, whatever became of it
  meter.add(step(nan, bad=2))
  line = meter.read()
  assert line['bad_steps'] == 1
  assert line['loss'] != line['loss']


def test_speed_and_waiting(times: Times, meter: Meter):
  for _ in range(4):
    times.spend(0.375)
    times.spend(0.125, 'input')
    meter.add(step(1))
  line = meter.read()
  assert line['images_per_second'] == 64
  assert line['step_seconds'] == 0.5
  assert line['input_wait'] == 0.25


def test_a_line_begins_where_the_last_one_ended(times: Times, meter: Meter):
  meter.add(step(8))
  times.spend(10)
  times.spend(5, 'input')
  meter.read()
  meter.add(step(2))
  times.spend(1)
  line = meter.read()
  assert line['loss'] == 2
  assert line['images_per_second'] == 32
  assert line['input_wait'] == 0


def test_time_in_which_no_step_was_taken_is_no_part_of_the_speed(times: Times, meter: Meter):
  meter.add(step(1))
  times.spend(1.5)
  times.spend(0.5, 'evaluation')
  times.spend(7, 'checkpoints')
  times.spend(7, 'other')
  assert meter.read()['images_per_second'] == pytest.approx(32 / 1.5)
  meter.add(step(1))  # the next line counts its own time in full
  times.spend(2)
  assert meter.read()['images_per_second'] == 16


def test_after_a_restart_only_new_steps_are_timed(times: Times, meter: Meter):
  times.spend(60)  # compilation
  times.spend(30, 'input')
  meter.add(step(3))
  meter.restart()
  meter.add(step(1))
  times.spend(1)
  line = meter.read()
  assert line['images_per_second'] == 32
  assert line['input_wait'] == 0
  assert line['loss'] == 2


def test_no_speed_is_told_before_there_is_one(times: Times, meter: Meter):
  """The first step is compiled, and told in a line of its own."""
  meter.add(step(4))
  times.spend(100)
  meter.restart()
  assert {'loss', 'bad_steps'} <= meter.read().keys()
  meter.add(step(4))
  meter.restart()
  assert not {'images_per_second', 'step_seconds', 'input_wait'} & meter.read().keys()
