import json
import math
import pathlib

import jax
import numpy as np
import pytest

from nfnets.errors import InputError
from nfnets.optim import hold_and_halve, peak_learning_rate, warmup_cosine

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'train_nfnet_tiny.json'


def test_equals_the_reference():
  schedule = warmup_cosine(0.2, warmup_steps=2, total_steps=10)
  expected = json.loads(GOLDEN.read_text())['learning_rates']
  np.testing.assert_array_equal([schedule(step) for step in range(6)], expected)


@pytest.mark.parametrize('warmup', [0, 1, 2.5, 1563.9])
@pytest.mark.parametrize('end', [0.0, 0.01])
def test_follows_the_formula(warmup, end):
  peak, total = 0.4, 4000
  schedule = jax.jit(warmup_cosine(peak, warmup_steps=warmup, total_steps=total, end=end))
  for step in (0, 1, 2, 3, 1000, 1563, 1564, 3999, 4000, 5000):
    if step < warmup:
      expected = peak * step / warmup
    else:
      progress = min((step - warmup) / (total - warmup), 1)
      expected = end + (peak - end) * (1 + math.cos(math.pi * progress)) / 2
    np.testing.assert_allclose(schedule(step), expected, rtol=1e-5, atol=1e-7)


def test_peak_follows_the_batch():
  assert peak_learning_rate(0.1, 4096) == 1.6
  assert peak_learning_rate(0.1, 64) == 0.025


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'peak': 0}, r'^peak=0: must be one finite number > 0$'),
    ({'total_steps': 0}, r'^total_steps=0: must be one finite number > 0$'),
    ({'warmup_steps': -1}, r'^warmup_steps=-1: must be one finite number >= 0 and < 10$'),
    ({'warmup_steps': 10}, r'^warmup_steps=10: must be one finite number >= 0 and < 10$'),
    ({'end': 0.3}, r'^end=0.3: must be one finite number >= 0 and <= 0.2$'),
    ({'end': -0.1}, r'^end=-0.1: must be one finite number >= 0 and <= 0.2$'),
  ],
)
def test_wrong_arguments_are_named(arguments, message):
  with pytest.raises(InputError, match=message):
    warmup_cosine(**{'peak': 0.2, 'warmup_steps': 2, 'total_steps': 10} | arguments)


@pytest.mark.parametrize(
  ('per_256', 'batch_size', 'message'),
  [
    (0.0, 256, r'^per_256=0.0: must be one finite number > 0$'),
    (0.1, 0, r'^batch_size=0: must be one finite number > 0$'),
  ],
)
def test_wrong_scaling_is_named(per_256, batch_size, message):
  with pytest.raises(InputError, match=message):
    peak_learning_rate(per_256, batch_size)


def test_hold_and_halve_is_that_of_the_skipinit_paper():
  """100 epochs, then half of it every 10, here of 3.5 steps."""
  schedule = jax.jit(hold_and_halve(0.8, hold_steps=350, halving_steps=35))
  for step, expected in {
    0: 0.8, 349: 0.8, 350: 0.4, 384: 0.4, 385: 0.2, 420: 0.1, 699: 0.8 / 2**10, 700: 0.8 / 2**11,
  }.items():  # fmt: skip
    np.testing.assert_allclose(schedule(step), expected, rtol=1e-6, err_msg=str(step))
  fractions = hold_and_halve(1.0, hold_steps=2.5, halving_steps=1.5)
  assert [float(fractions(step)) for step in range(6)] == [1, 1, 1, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
  ('options', 'named'),
  [
    ({'hold_steps': -1, 'halving_steps': 1}, 'hold_steps=-1'),
    ({'hold_steps': 0, 'halving_steps': 0}, 'halving_steps=0'),
  ],
)
def test_wrong_lengths_are_named(options, named):
  with pytest.raises(InputError, match=named):
    hold_and_halve(0.1, **options)
