"""The claims on depth: their rules tell what the papers say from its opposite."""

import dataclasses
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from nfnets.claims.beds.depths import SKIPINIT_BY_DEPTH, UNIT_GAIN, depth_of
from nfnets.claims.beds.residual_mlp import ResidualMLP
from nfnets.claims.beds.straight_line import fit_line
from nfnets.claims.beds.sweep import Sweep, best, sweep
from nfnets.claims.beds.training import Recipe
from nfnets.claims.claim import Scale, Source
from nfnets.claims.depth import (
  fixup_rules,
  learning_rate_batch_size,
  nf_trains_deep,
  skipinit_trains,
  skipinit_without_l2,
  sqrt2_fails_deep,
  unit_gain_fails,
)
from nfnets.claims.signal import (
  branch_downscaling,
  deep_linear_statistics,
  relu_statistics,
  skipinit_variance,
)

NOWHERE = Source(Path('/'), lambda done, total: None)
DEEP = (skipinit_trains, fixup_rules, nf_trains_deep)
SHALLOW = (unit_gain_fails, sqrt2_fails_deep)


def passes(claim, results) -> bool:
  checks = claim.judge(results)
  assert checks
  figure = Figure()
  claim.draw(figure, results)
  assert figure.axes or figure.subfigs
  return all(check.holds for check in checks)


def runs(*accuracies: float) -> dict:
  """What a sweep finds; NaN for a run that diverged."""
  rates = [0.1 * 2**-place for place in range(len(accuracies))]
  return {
    'rates': rates,
    'accuracies': list(accuracies),
    'training_losses': [1.0] * len(rates),
    'steps': [10] * len(rates),
  }


GOOD, BAD, LOST = runs(0.2, 0.8, 0.7), runs(0.1, 0.12), runs(math.nan, math.nan)


@pytest.mark.parametrize('scale', Scale)
@pytest.mark.parametrize('module', DEEP)
def test_what_trains_deep_trains_at_every_depth(module, scale):
  cells = list(module.CLAIM.settings[scale].cells)
  assert passes(module.CLAIM, dict.fromkeys(cells, GOOD))
  for bad in (BAD, LOST):
    assert not passes(module.CLAIM, dict.fromkeys(cells, GOOD) | {cells[-1]: bad})


@pytest.mark.parametrize('scale', Scale)
@pytest.mark.parametrize('module', SHALLOW)
def test_what_fails_deep_trains_when_shallow(module, scale):
  shallow, middle, deep = cells = list(module.CLAIM.settings[scale].cells)
  assert [depth_of(cell) for cell in cells] == sorted(depth_of(cell) for cell in cells)
  for bad in (BAD, LOST):
    assert passes(module.CLAIM, {shallow: GOOD, middle: bad, deep: bad})
    assert not passes(module.CLAIM, {shallow: bad, middle: bad, deep: bad})
    assert not passes(module.CLAIM, {shallow: GOOD, middle: bad, deep: GOOD})
  assert not passes(module.CLAIM, {shallow: GOOD, middle: runs(0.85), deep: BAD})


def test_gains_follow_the_depth_in_both_kinds_of_networks():
  assert SKIPINIT_BY_DEPTH.network(50).skip_gain == 50**-0.5
  wide = SKIPINIT_BY_DEPTH.wide_network(100).variant
  assert (wide.num_blocks, wide.skip_gain) == (48, 48**-0.5)
  assert UNIT_GAIN.wide_network(16).variant.skip_gain == UNIT_GAIN.network(8).skip_gain == 1


def test_without_l2_needs_depth_and_a_gap_beyond_chance():
  claim = skipinit_without_l2.CLAIM
  cells = list(claim.settings[Scale.CPU].cells)

  def found(without: float, with_l2: float) -> dict:
    level = {'without L2': without, 'with L2': without, 'with strong L2': with_l2}
    return {
      cell: runs(level[cell.partition(',')[0]] + 0.002 * place) if 'long' in cell else GOOD
      for place, cell in enumerate(cells)
    }

  assert passes(claim, found(0.8, 0.85))
  assert not passes(claim, found(0.85, 0.8))
  assert not passes(claim, found(0.82, 0.805))
  assert not passes(claim, found(0.8, 0.85) | {cells[0]: BAD})


def test_the_best_run_is_told_and_diverged_ones_count_nothing():
  assert best(runs(math.nan, 0.4, 0.3)) == (0.05, 0.4)
  assert best(LOST).accuracy == 0


@pytest.fixture(scope='module')
def small_sweep():
  return Sweep(
    network=ResidualMLP(scheme='skipinit', blocks=2, width=32, inputs=64, skip_gain=0.5),
    dataset='digits',
    train_images=640,
    recipe=Recipe(batch_size=64, steps=40, learning_rate=0.0),
    rates=(0.1, 1e-6, 1e30),
  )


def test_a_sweep_finds_the_rate_that_trains_and_survives_those_that_do_not(digits, small_sweep):
  told = []
  source = Source(digits, lambda done, total: told.append((done, total)))
  found = sweep(small_sweep, source)
  good, idle, lost = found['accuracies']
  assert good > 0.6 > 0.3 > idle
  assert math.isnan(lost)
  assert found['steps'][:2] == [40, 40]
  assert best(found).rate == 0.1
  assert told[-1] == (120, 120) or told[-1][0] <= 120
  assert all(total == 120 for _, total in told)


def test_growth_is_measured_and_judged():
  claim = skipinit_variance.CLAIM
  cells = claim.settings[Scale.CPU].cells
  network = ResidualMLP(scheme='skipinit', blocks=4, width=128, inputs=128, skip_gain=1.0)
  found = claim.measure(skipinit_variance.Growth(network=network), NOWHERE)
  np.testing.assert_allclose(found['growth'], 2**4, rtol=0.15)

  def results(growth) -> dict:
    return {
      name: {
        'blocks': cell.network.blocks,
        'gain': cell.network.skip_gain,
        'growth': growth(cell.network.blocks, cell.network.skip_gain),
      }
      for name, cell in cells.items()
    }

  def expected(blocks: int, gain: float) -> float:
    growth = (1 + gain**2) ** blocks
    return growth if growth < 2**128 else math.inf

  assert passes(claim, results(expected))
  assert not passes(claim, results(lambda blocks, gain: 1.0))
  assert not passes(claim, results(lambda blocks, gain: math.e if gain < 1 else 2.0**blocks))
  assert not passes(claim, results(lambda blocks, gain: min(2.0**blocks, 1e30)))


def test_statistics_of_linear_networks_are_measured_and_judged():
  claim = deep_linear_statistics.CLAIM
  ((name, cell),) = claim.settings[Scale.CPU].cells.items()
  small = dataclasses.replace(
    cell,
    network=dataclasses.replace(cell.network, blocks=12, width=128, inputs=128),
    examples=256,
    batches=3,
  )
  measured = claim.measure(small, NOWHERE)
  blocks = np.arange(1, 13)
  np.testing.assert_allclose(measured['skip'], blocks, rtol=0.2)
  assert passes(claim, {name: {'skip': blocks, 'branch': np.ones(12), 'moving': blocks}})
  for wrong in ({'skip': blocks * 1.1}, {'branch': blocks**-0.5}, {'moving': np.ones(12)}):
    good = {'skip': blocks, 'branch': np.ones(12), 'moving': blocks}
    assert not passes(claim, {name: good | wrong})


def test_statistics_of_relu_networks_are_measured_and_judged(digits):
  claim = relu_statistics.CLAIM
  small = relu_statistics.Statistics(blocks=3, width=16, dataset='digits', examples=32)
  found = claim.measure(small, Source(digits, NOWHERE.tell))
  assert {len(curve) for curve in found.values()} == {3}
  np.testing.assert_allclose(found['moving_variance'][1:], found['variance'][:-1], rtol=0.01)
  np.testing.assert_allclose(
    found['moving_squared_mean'][1:], found['squared_mean'][:-1], rtol=0.01
  )
  blocks = np.arange(1.0, 31)
  good = {
    'variance': 0.8 * blocks,
    'squared_mean': 0.3 * blocks,
    'branch_variance': np.full(30, 0.8),
    'moving_variance': 0.8 * (blocks - 1),
    'moving_squared_mean': 0.3 * (blocks - 1),
  }
  assert passes(claim, {'30 blocks': good})
  for wrong in ({'variance': 2.0**blocks}, {'squared_mean': 0 * blocks + 0.3 / blocks}):
    assert not passes(claim, {'30 blocks': good | wrong})


def test_downscaling_is_measured_and_judged(digits):
  claim = branch_downscaling.CLAIM
  small = branch_downscaling.Downscaling(
    network=ResidualMLP(scheme='batchnorm', blocks=6, inputs=64),
    dataset='digits',
    pooled=1,
    examples=200,
    recipe=Recipe(batch_size=32, steps=0, learning_rate=0.05),
  )
  first = claim.measure(small, Source(digits, NOWHERE.tell))['ratios']
  assert first.shape == (6,)
  assert first[0] > first[-1] > 0
  fallen, level = np.arange(1, 51) ** -0.5, np.ones(50)
  assert passes(claim, {'initial': {'ratios': fallen}, 'trained': {'ratios': fallen}})
  assert not passes(claim, {'initial': {'ratios': level}, 'trained': {'ratios': fallen}})
  assert not passes(claim, {'initial': {'ratios': fallen}, 'trained': {'ratios': level}})


@pytest.mark.slow
def test_downscaling_is_measured_after_training(digits):
  network = ResidualMLP(scheme='batchnorm', blocks=2, inputs=64)
  recipe = Recipe(batch_size=32, steps=0, learning_rate=0.05)
  first, later = (
    branch_downscaling.measure(
      branch_downscaling.Downscaling(
        network=network,
        dataset='digits',
        pooled=1,
        examples=200,
        recipe=dataclasses.replace(recipe, steps=steps),
      ),
      Source(digits, NOWHERE.tell),
    )['ratios']
    for steps in (0, 20)
  )
  assert np.all(first != later)


def tuned(claim, center, *, edge, most) -> dict:
  """Accuracies that fall away from `center(name, batch)`, and are lost above `edge`."""
  results = {}
  for cell, setting in claim.settings[Scale.CPU].cells.items():
    name, _, batch = cell.partition(', batch ')
    rates = np.array(setting.rates)
    away = np.abs(np.log2(rates) - math.log2(center(name, int(batch))))
    accuracies = np.where(rates > edge[name], math.nan, most(name, int(batch)) - 0.03 * away)
    results[cell] = runs(*accuracies) | {'rates': rates.tolist()}
  return results


def test_rates_are_judged_by_all_four_sentences():
  claim = learning_rate_batch_size.CLAIM
  edge = {'BatchNorm': 2.0, 'SkipInit': 0.25}

  def center(name: str, batch: int) -> float:
    return min(batch / 1024, edge[name] / 2)

  def most(name: str, batch: int) -> float:
    return 0.85 if name == 'BatchNorm' else 0.84

  assert passes(claim, tuned(claim, center, edge=edge, most=most))
  level = tuned(claim, lambda name, batch: 0.125, edge=edge, most=most)
  assert not passes(claim, level)
  same = tuned(claim, center, edge=dict.fromkeys(edge, 0.25), most=most)
  assert not passes(claim, same)
  worse = tuned(claim, center, edge=edge, most=lambda name, batch: 1.69 - most(name, batch))
  assert not passes(claim, worse)
  apart = tuned(
    claim, lambda name, batch: center(name, batch) * (8 if name == 'SkipInit' else 1),
    edge=dict.fromkeys(edge, 2.0) | {'SkipInit': 1.0}, most=most,
  )  # fmt: skip
  assert not passes(claim, apart)


def test_the_line_is_that_of_least_squares():
  line = fit_line([1, 2, 3, 4], [3.0, 5, 7, 9])
  np.testing.assert_allclose(line, (2, 1, 1), atol=1e-9)
  assert fit_line([1, 2, 3, 4], [0.0, 1, 1, 0]).explained < 0.01


def test_settings_of_a_gpu_are_networks_of_the_zoo_that_run():
  cell = fixup_rules.CLAIM.settings[Scale.GPU].cells['shrunken alone, 16 layers']
  params, state = jax.eval_shape(cell.network.init, jax.random.key(0))
  images = jax.ShapeDtypeStruct((2, 32, 32, 3), np.float32)
  outputs, _ = jax.eval_shape(
    lambda *args: cell.network.apply(*args, None, images, is_training=True), params, state
  )
  assert outputs['logits'].shape == (2, 10)
