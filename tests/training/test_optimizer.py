import dataclasses
import itertools

import jax
import numpy as np
import pytest

from nfnets.optim import read_clipped_fraction, sgd_agc
from nfnets.training.config import Config, FineTuneConfig, OptimizerConfig
from nfnets.training.derived import derive
from nfnets.training.optimizer import make_optimizer

RNG = np.random.default_rng(0)
PARAMS = {
  'net/~/conv': {
    'w': np.float32(RNG.standard_normal((3, 3, 2, 4))),
    'gain': np.ones(4, np.float32),
  },
  'net/~/linear': {'w': np.float32(1e-3 * RNG.standard_normal((4, 3)))},
  'net/~/block': {'skip_gain': np.float32(0)},
}
PLACED = {
  'NFNet/~/stem_conv0': {'w': np.ones((3, 4), np.float32)},
  'NFNet/~/nf_block_1': {'skip_gain': np.float32(1)},
  'NFNet/~/linear': {'w': np.ones((4, 3), np.float32)},
}
GRADIENTS = jax.tree.map(lambda p: np.float32(RNG.standard_normal(np.shape(p))), PARAMS)

# Every field that reaches the transform: (field of the config, argument of sgd_agc, value).
FIELDS = [
  ('momentum', 'momentum', 0.5),
  ('nesterov', 'nesterov', False),
  ('weight_decay', 'weight_decay', 0.3),
  ('clipping', 'clipping', 0.5),
  ('clipping', 'clipping', None),
  ('clip_eps', 'clip_eps', 0.7),
  ('clip_norm', 'clip_norm', 'layer'),
]
# Of the schedule, of the gradient and of the average.
ELSEWHERE = {
  'learning_rate',
  'schedule',
  'warmup_epochs',
  'end_learning_rate',
  'hold_epochs',
  'halving_epochs',
  'sam_rho',
  'sam_share',
  'ema_decay',
}


def third_update(transform, params=PARAMS, gradients=GRADIENTS):
  """Parameters' change in the third step: the first has rate 0 and no momentum yet."""
  state = transform.init(params)
  for _ in range(3):
    updates, state = transform.update(gradients, state, params)
  return updates


def configured(**fields):
  config = Config(
    batch_size=64,
    epochs=4,
    optimizer=OptimizerConfig(**{'learning_rate': 0.4, 'warmup_epochs': 1} | fields),
  )
  return make_optimizer(config, derive(config, num_examples=256))  # 4 steps an epoch


def test_every_field_is_covered():
  fields = {field.name for field in dataclasses.fields(OptimizerConfig)}
  assert {field for field, _, _ in FIELDS} | ELSEWHERE == fields


@pytest.mark.parametrize(('field', 'argument', 'value'), FIELDS)
def test_a_field_reaches_the_optimizer(field: str, argument: str, value: object):
  transform, schedule = configured(**{field: value})
  got = third_update(transform)
  want = third_update(sgd_agc(schedule, **{argument: value}))
  jax.tree.map(np.testing.assert_array_equal, got, want)
  by_default = third_update(configured()[0])
  same = jax.tree.map(np.array_equal, got, by_default)
  assert not all(jax.tree.leaves(same))


def test_depths_and_freezing_reach_the_optimizer():
  finetune = FineTuneConfig(layer_decay=0.5, freeze_to='block_0')
  optimizer = OptimizerConfig(warmup_epochs=1)
  config = Config(finetune=finetune, optimizer=optimizer, batch_size=64, epochs=4)
  derived = derive(config, num_examples=256)
  transform, schedule = make_optimizer(config, derived)
  got = third_update(transform, PLACED, PLACED)
  frozen = {'stem', 'block_0'}
  want = third_update(sgd_agc(schedule, layer_decay=0.5, frozen=frozen), PLACED, PLACED)
  jax.tree.map(np.testing.assert_array_equal, got, want)
  assert not np.any(got['NFNet/~/stem_conv0']['w'])
  assert np.any(got['NFNet/~/nf_block_1']['skip_gain'])


def test_the_rate_rises_over_the_warmup_and_falls_to_zero():
  _, schedule = configured()
  rates = [float(schedule(step)) for step in range(17)]
  assert rates[:5] == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])  # 0.4 for 256, here 64
  assert rates[10] == pytest.approx(0.05)
  assert rates[16] == pytest.approx(0, abs=1e-8)
  assert all(a > b for a, b in itertools.pairwise(rates[4:]))


def test_the_rate_falls_to_where_it_shall_end():
  _, schedule = configured(end_learning_rate=0.02)
  assert float(schedule(16)) == pytest.approx(0.02)


def test_the_rate_may_be_halved_again_and_again():
  _, schedule = configured(schedule='halving', hold_epochs=2, halving_epochs=0.5)
  rates = [float(schedule(step)) for step in (0, 7, 8, 9, 10, 12)]
  assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.0125])


def test_the_share_of_clipped_units_can_be_read_unless_agc_is_off():
  with_agc, without = configured()[0], configured(clipping=None)[0]
  _, state = with_agc.update(GRADIENTS, with_agc.init(PARAMS), PARAMS)
  assert read_clipped_fraction(state) == 1
  assert read_clipped_fraction(without.init(PARAMS)) is None
