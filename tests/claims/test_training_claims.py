"""Every claim on training, measured on the handwritten digits by tiny networks."""

import dataclasses

import numpy as np
import pytest

from nfnets.claims.beds.recipe import NO_AUGMENTATION, Sam
from nfnets.claims.beds.runs import measure_run
from nfnets.claims.beds.sam import measure_sam
from nfnets.claims.beds.sizes import CPU
from nfnets.claims.claim import Scale, Source
from nfnets.claims.learning import ema, skip_gain_under_agc, transfer

TINY = {'depths': (1,), 'widths': (8,), 'strides': (2,)}
BED = dataclasses.replace(
  CPU,
  dataset='digits',
  pooled=1,
  examples=200,
  nf=dataclasses.replace(CPU.nf, **TINY),
  batchnorm=dataclasses.replace(CPU.batchnorm, **TINY),
  epochs=2,
)


@pytest.fixture
def source(digits):
  return Source(digits, lambda done, total: None)


def but(run, **recipe):
  return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, **recipe))


@pytest.mark.slow
def test_a_run_is_scored_and_repeats_itself(source):
  run = BED.run(BED.nf, 20, clipping=0.1)
  first, second = measure_run(run, source), measure_run(run, source)
  assert first == second
  assert first['steps'] == 20
  assert not first['diverged']
  assert 0 <= first['test_accuracy'] <= 1


@pytest.mark.slow
def test_what_a_recipe_adds_changes_the_run(source):
  run = BED.run(BED.nf, 20, clipping=0.1)
  mixup = dataclasses.replace(NO_AUGMENTATION, mixup=0.2)
  losses = {
    measure_run(one, source)['test_loss']
    for one in (
      run,
      but(run, clipping=0.01),
      but(run, unclipped=('block_0',)),
      but(run, clipping=None, max_norm=0.1),
      but(run, augmentation=mixup),
    )
  }
  assert len(losses) == 5


@pytest.mark.slow
def test_sharpness_and_time_of_sam(source):
  run = BED.run(BED.nf, 20, clipping=0.1)
  sam = but(run, sam=Sam(0.05, 0.2, same=False), steps=40)
  found = measure_sam(sam, source)
  assert np.isfinite(found['sharpness'])
  assert found['seconds_between_reports'] > 0


@pytest.mark.slow
def test_averages_are_looked_at_through_the_run(source):
  run = BED.run(BED.nf, 20, clipping=0.1)
  cell = dataclasses.replace(ema.CLAIM.settings[Scale.CPU].cells['seed 0'], run=run, looks=4)
  found = ema.CLAIM.measure(cell, source)
  assert found['progress'] == [0.25, 0.5, 0.75, 1.0]
  curves = [found[name] for name in found if name != 'progress']
  assert [len(curve) for curve in curves] == [4, 4, 4]


@pytest.mark.slow
def test_pre_training_and_fine_tuning(source):
  run = but(BED.run(BED.nf, 20), steps=200)
  cell = next(iter(transfer.CLAIM.settings[Scale.CPU].cells.values()))
  tuning = but(run, steps=30, batch_size=5, learning_rate=0.05).recipe
  cell = dataclasses.replace(cell, run=run, fine_tuning=tuning, examples=20)
  found = transfer.CLAIM.measure(cell, source)
  assert set(found) == {'pretrained', 'tuned', 'scratch'}
  assert found['pretrained'] > 0.8
  assert found['tuned'] > found['scratch'] + 0.1


def test_gains_climb_as_computed(source):
  cells = skip_gain_under_agc.CLAIM.settings[Scale.CPU].cells
  found = skip_gain_under_agc.CLAIM.measure(cells['rate 0.1 clipping 0.16'], source)
  assert found['took'] == found['predicted'] == [62, 87]


@pytest.mark.parametrize(
  ('rate', 'clipping', 'steps'), [(0.05, 0.01, (1167, 1647)), (1.6, 0.01, (62, 87))]
)
def test_the_bound_is_reached_after_known_numbers_of_steps(rate, clipping, steps):
  reached = skip_gain_under_agc.highest(rate, clipping, 2000)
  assert [int(np.sum(reached < target)) + 1 for target in (0.1, 1.0)] == list(steps)


@pytest.mark.slow
def test_gains_of_a_network_are_watched(source):
  cells = skip_gain_under_agc.CLAIM.settings[Scale.CPU].cells
  run = BED.run(dataclasses.replace(BED.nf, skip_gain=0.0), 20, clipping=0.01)
  run = but(run, constant_rate=True, warmup_steps=0)
  found = skip_gain_under_agc.CLAIM.measure(dataclasses.replace(cells['AGC'], run=run), source)
  gains, bound = np.asarray(found['largest_gain']), np.asarray(found['bound'])
  assert len(gains) == 20
  assert 0 < gains[0] <= bound[0] * 1.0001
  assert (gains <= bound * 1.0001).all()
