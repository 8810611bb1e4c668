"""The rules about signal propagation: what they accept, what they refuse, what is measured."""

import math

import numpy as np
import pytest

from nfnets.claims.beds import propagation, stacks
from nfnets.claims.claim import Source
from nfnets.claims.signal import (
  activation_gains,
  bn_signal,
  mean_shift,
  nf_recursion,
  plain_signal,
  relu_order,
  scaled_ws,
  squeeze_excite_scale,
)
from nfnets.models.plan import walk

STAGES = np.repeat([0, 1, 2], 5)
STEPS = np.tile(np.arange(1, 6), 3)


def verdicts(claim, results):
  return [bool(check.holds) for check in claim.CLAIM.judge(results)]


def curves(variance, squared_mean, branch, assumed=np.nan):
  shape = np.ones(len(STAGES))
  return {
    'variance': (variance * shape).tolist(),
    'squared_mean': (squared_mean * shape).tolist(),
    'branch_variance': (branch * shape).tolist(),
    'assumed_variance': (assumed * shape).tolist(),
    'stages': STAGES.tolist(),
  }


def test_batch_normalization():
  branch = 1 - 1 / math.pi
  lines = curves(branch * (1 + STEPS), 0.318 * STEPS**1.2, branch)
  assert all(verdicts(bn_signal, {'a': lines}))
  assert verdicts(bn_signal, {'a': curves(2.0**STEPS, 0.318 * STEPS**1.2, branch)})[:2] == [
    False,
    False,
  ]
  unbroken = curves(branch * np.arange(2, 17), 0.318 * STEPS**1.2, branch)
  assert verdicts(bn_signal, {'a': unbroken}) == [True, True, False, True, True]
  no_mean = curves(branch * (1 + STEPS), 0.01 + 1e-4 * STEPS, 1.0)
  assert verdicts(bn_signal, {'a': no_mean})[3:] == [False, False]


def test_no_normalization():
  doubling = 2.0 ** np.arange(15)
  held = (1 + 1 / 15) ** np.arange(15)
  good = {'plain': curves(doubling, doubling, 1), 'skipinit': curves(held, 0, 1)}
  assert verdicts(plain_signal, good) == [True, True]
  swapped = {'plain': good['skipinit'], 'skipinit': good['plain']}
  assert verdicts(plain_signal, swapped) == [False, False]
  shape = {'plain': curves(1 + STEPS, 0, 1), 'skipinit': curves(held, 0, 1)}
  assert verdicts(plain_signal, shape) == [False, True]


def test_the_recursion():
  assumed = 1 + 0.04 * STEPS
  assert all(verdicts(nf_recursion, {'a': curves(assumed * 1.05, 0.01, 0.95, assumed)}))
  wrong = curves(assumed * 1.5, assumed, 0.7, assumed)
  assert verdicts(nf_recursion, {'a': wrong}) == [False] * 4
  unbroken = curves(1 + 0.04 * np.arange(1, 16), 0.01, 1, assumed)
  assert verdicts(nf_recursion, {'a': unbroken}) == [False, False, True, True]


def test_the_mean_shift():
  none = curves(1 + STEPS, 0.01, 1)
  shifted = curves(1, STEPS, 0.6 - 0.1 * STAGES)
  good = {'he': shifted, 'scaled_ws': none, 'he_without_relu': none}
  assert verdicts(mean_shift, good) == [True] * 4
  opposite = {'he': none, 'scaled_ws': shifted, 'he_without_relu': shifted}
  assert verdicts(mean_shift, opposite) == [False] * 4


def test_the_order_of_relu():
  before = curves(0.68 * STEPS, 0.32 * STEPS, 0.68)
  behind = curves(1 + STEPS, 0.01, 1)
  assert all(verdicts(relu_order, {'bn_relu': before, 'relu_bn': behind, 'scaled_ws': behind}))
  assert not any(verdicts(relu_order, {'bn_relu': behind, 'relu_bn': before, 'scaled_ws': behind}))


def test_units():
  good, shifted = ({'means': [mean, -mean], 'variances': [0.98, 1.03]} for mean in (0.02, 0.7))
  cells = dict.fromkeys(('standardized', 'moved_standardized'), good)
  assert verdicts(scaled_ws, cells | {'normal': shifted}) == [True] * 5
  cells = dict.fromkeys(('standardized', 'moved_standardized'), shifted)
  assert verdicts(scaled_ws, cells | {'normal': good}) == [True, False, True, False, False]


def test_gates():
  kept, quarter = {'variance': 1.05}, {'variance': 0.26}
  doubled, plain = ('doubled_noise', 'doubled_alike'), ('plain_noise', 'plain_alike')
  good = dict.fromkeys(doubled, kept) | dict.fromkeys(plain, quarter)
  assert verdicts(squeeze_excite_scale, good) == [True] * 4
  swapped = dict.fromkeys(doubled, quarter) | dict.fromkeys(plain, kept)
  assert verdicts(squeeze_excite_scale, swapped) == [False] * 4


def test_gains(tmp_path):
  source = Source(tmp_path, lambda done, total: None)
  cell = activation_gains.Cell('relu', width=64, vectors=64)
  found = dict(activation_gains.CLAIM.measure(cell, source))
  exact = (0.5 - 0.5 / math.pi) ** -0.5
  assert found['exact'] == pytest.approx(exact, rel=1e-5)
  good = found | {'variance_behind_activation': 1.01, 'variance_behind_layer': 0.99}
  good |= {'squared_mean_behind_layer': 0.001}
  assert all(verdicts(activation_gains, {'relu': good}))
  off = good | {'used': 1.01 * exact, 'variance_behind_activation': 1.1}
  off |= {'variance_behind_layer': 0.9, 'squared_mean_behind_layer': 0.1}
  assert not any(verdicts(activation_gains, {'relu': good, 'other': off}))


@pytest.mark.parametrize(
  ('measure', 'cell', 'blocks'),
  [
    pytest.param(
      propagation.measure,
      propagation.Cell(model='nf_wide_resnet_16_2', skip_gain=1.0, size=8, batch=2),
      6,
      marks=pytest.mark.slow,
    ),
    (
      stacks.measure,
      stacks.Stack(
        order='relu_bn', kernels='normal', depths=(1, 2), width=8, size=4, batch=2
      ),
      3,
    ),
  ],
)  # fmt: skip
def test_what_is_measured(tmp_path, measure, cell, blocks):
  found = measure(cell, Source(tmp_path, lambda done, total: None))
  for name in ('variance', 'squared_mean', 'branch_variance', 'stages'):
    assert len(found[name]) == blocks
  assert np.all(np.asarray(found['variance']) > 0)


def test_a_stack_has_the_betas_of_the_networks():
  stack = stacks.Stack(order='free', kernels='standardized', alpha=0.5, depths=(2, 2), width=4)
  network = walk(4, widths=(4, 4), depths=(2, 2), strides=(1, 1), alpha=0.5)
  assert [place.beta for place in stack.places] == [place.beta for place in network]
  assert [place.starts_stage for place in stack.places] == [True, False, True, False]


@pytest.mark.slow
def test_scaled_kernels_scale_what_nothing_normalizes(tmp_path):
  source = Source(tmp_path, lambda done, total: None)
  cell = propagation.Cell(model='wide_resnet_16_2', size=8, batch=2)
  doubled = propagation.Cell(model='wide_resnet_16_2', size=8, batch=2, kernel_scale=2.0)
  one, two = (propagation.measure(each, source)['branch_variance'] for each in (cell, doubled))
  np.testing.assert_allclose(two, 4 * one, rtol=1e-3)
