"""The steps that are compared: what is added to each, and that they run."""

import jax
from runs import MICRO, in_the_zoo

from nfnets.benchmarks import step, train
from nfnets.benchmarks.timing import Timing
from nfnets.benchmarks.workload import Workload

WORKLOAD = Workload(model=MICRO, batch_size=8, size=16, precision='float32')


def test_every_part_is_added_to_the_same_step(monkeypatch) -> None:
  configs, devices = [], []

  def make_step(config, count):
    configs.append(config)
    devices.append(count)
    return len(configs), None

  monkeypatch.setattr(step, 'make_step', make_step)
  monkeypatch.setattr(step, 'time_calls', lambda call: Timing(9.0, [1.0, call, 50.0]))
  told: list[str] = []
  steps = step.measure([WORKLOAD], list(step.PARTS), progress=told.append)

  plain, augmented, fast, whole, pieces = configs
  augment = augmented.augment
  assert (augment.mixup, augment.cutmix, augment.layers, augment.magnitude) == (0.2, 1.0, 4, 10.0)
  assert (plain.augment.mixup, plain.augment.cutmix, plain.augment.layers) == (None, None, 0)
  sam = [(c.optimizer.sam_rho, c.optimizer.sam_share) for c in (fast, whole)]
  assert sam == [(0.05, 0.2), (0.05, 1.0)]
  assert plain.optimizer.sam_rho is augmented.optimizer.sam_rho is None
  assert pieces.micro_batch_size == 2
  assert plain.micro_batch_size is None
  assert devices == [1] * 5

  assert [one.part for one in steps] == list(step.PARTS)
  assert [one.ratio for one in steps] == [1, 2, 3, 4, 5]
  assert told[1] == f'{MICRO}, augmented: {steps[1].timing}'
  row = step.markdown(steps).splitlines()[3]
  assert row == f'| {MICRO} | augmented | 2000 ms | 1000 ms | 50000 ms | 2.000 | 9 s |'


def test_the_batch_is_what_the_step_takes(monkeypatch) -> None:
  """Two images for each example where they are mixed; nothing is compiled, only traced."""
  shapes = []

  class Traced:
    def __init__(self, mapping):
      self._mapping = mapping

    def train_step(self, function):
      mapped = self._mapping.train_step(function)

      def trace(state, batch):
        shapes.append(batch['images'].shape)
        return jax.eval_shape(mapped, state, batch)

      return trace

    def replicate(self, state):
      return state

    def __getattr__(self, name):
      return getattr(self._mapping, name)

  make_mapping, create_state = train.make_mapping, train.create_state
  monkeypatch.setattr(train, 'make_mapping', lambda *given: Traced(make_mapping(*given)))
  monkeypatch.setattr(
    train, 'create_state', lambda *given: jax.eval_shape(lambda: create_state(*given))
  )
  monkeypatch.setattr(step, 'time_calls', lambda call: Timing(call()['loss'].ndim, [1.0]))
  with in_the_zoo():
    steps = step.measure([WORKLOAD], ['plain', 'augmented'], progress=lambda line: None)
  assert shapes == [(1, 8, 16, 16, 3), (1, 8, 2, 16, 16, 3)]
  assert [one.timing.first for one in steps] == [0, 0]  # scalar losses
