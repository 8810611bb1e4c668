"""The claims about batch normalization: their judges, and a small run of each."""

import copy
import dataclasses

import pytest
from matplotlib.figure import Figure

from nfnets.claims.beds.norm_bed import Bed
from nfnets.claims.beds.recipe import Recipe
from nfnets.claims.claim import Scale, Source
from nfnets.claims.statistics import (
  batch_statistics_inference,
  domain_statistics,
  ema_large_batch,
  frozen_bn,
  leakage,
  normalization_batch_size,
  precise_bn,
  precise_bn_batch_size,
  replica_equality,
  target_statistics,
)

TINY = Bed(
  dataset='digits',
  depths=(1, 1),
  widths=(8, 8),
  strides=(2, 1),
  stem_channels=4,
  recipe=Recipe(batch_size=128, steps=20, learning_rate=0.1),
)


def three(training, batch, population):
  return {
    'training, by the batch': training,
    'test, by the batch': batch,
    'test, by the population': population,
    'test, by moving averages': population,
  }


PREDICTED = {
  precise_bn: {
    'trained': {
      'counts': [10, 100, 1000, 10_000],
      'accuracies': [[60.0, 70.0], [84.0, 85.0], [86.0, 86.1], [86.1, 86.1]],
      'moving_average': 86.0,
      'error_of_one_layer': 1e-6,
    }
  },
  precise_bn_batch_size: {
    f'batches of {size}': {
      'layers': ['a', 'b', 'c'],
      'mean_errors': [0.1 / size, 0.2 / size, 0.4 / size],
      'deviation_errors': [0.1 / size, 0.2 / size, 0.4 / size],
      'accuracy': 86 - 10 / size,
    }
    for size in (2, 4, 16, 64)
  },
  ema_large_batch: {
    'large batches': {
      'steps': list(range(8)),
      'precise': [40, 35, 30, 25, 20, 18, 16, 15.0],
      '0.0': [40, 35, 30, 25, 20, 18, 16, 15.0],
      '0.9': [80, 50, 70, 30, 20, 18, 16, 15.5],
      '0.999': [80, 50, 70, 30, 20, 18, 16, 15.5],
    },
    'small batches': {
      'steps': list(range(8)),
      'precise': [15.0] * 8,
      '0.0': [20.0] * 8,
      '0.9': [15.5] * 8,
      '0.999': [19.0] * 8,
    },
  },
  normalization_batch_size: {
    '2': three(15, 17, 40),
    '8': three(12, 15, 16),
    '128': three(11, 15, 15.1),
  },
  batch_statistics_inference: {'2': three(15, 17, 40), '32': three(11, 15, 15.1)},
  frozen_bn: {
    name: {'error': error, 'training_errors': [30.0, 20.0], 'from_step': 16}
    for name, error in {'2': 40, '2, frozen': 17, '32': 15, '32, frozen': 15.2}.items()
  },
  domain_statistics: {
    'shared statistics': {'shared statistics': [85, 84], 'own statistics': [60, 70]},
    'own statistics': {'shared statistics': [30, 60], 'own statistics': [86, 85]},
    'own statistics, scales and offsets': {
      'shared statistics': [30, 60],
      'own statistics': [86, 86],
    },
  },
  target_statistics: {
    'none': {'clean': 86, 'corrupted': 86},
    'noise': {'clean': 50, 'corrupted': 70},
    'blur': {'clean': 70, 'corrupted': 69.5},
  },
  leakage: {
    'random groups': {'training': 90, 'test': 86},
    'groups of 2 classes': {'training': 98, 'test': 40},
    'groups of 2 classes, shuffled': {'training': 90, 'test': 85},
    'groups of 2 classes, synced': {'training': 91, 'test': 86.5},
  },
  replica_equality: {
    'synced': {'logits': [1e-6, 1e-5], 'largest_logit': 2.0, 'params': 1e-6},
    'each device alone': {'logits': [0.1, 0.3], 'largest_logit': 2.0, 'params': 0.1},
    'normalizer-free': {'logits': [1e-6, 1e-5], 'largest_logit': 2.0, 'params': 1e-6},
  },
}

# (claim, cell, what it finds, a value that contradicts the paper)
OPPOSITES = [
  (precise_bn, 'trained', 'accuracies', [[86.0]] * 4),
  (precise_bn, 'trained', 'accuracies', [[60.0], [84.0], [85.0], [86.0]]),
  (precise_bn, 'trained', 'error_of_one_layer', 0.01),
  (precise_bn, 'trained', 'moving_average', 80.0),
  (precise_bn_batch_size, 'batches of 2', 'accuracy', 86.0),
  (precise_bn_batch_size, 'batches of 2', 'mean_errors', [0.5, 0.2, 0.1]),
  (precise_bn_batch_size, 'batches of 64', 'mean_errors', [0.05, 0.1, 0.2]),
  (ema_large_batch, 'large batches', '0.9', [40, 35, 30, 25, 20, 18, 16, 15.0]),
  (ema_large_batch, 'large batches', '0.9', [45, 40, 35, 30, 20, 18, 16, 15.0]),
  (ema_large_batch, 'large batches', '0.9', [80, 50, 70, 30, 20, 18, 16, 25.0]),
  (ema_large_batch, 'small batches', '0.0', [15.5] * 8),
  (ema_large_batch, 'small batches', '0.999', [15.5] * 8),
  (normalization_batch_size, '2', 'test, by the population', 16.0),
  (normalization_batch_size, '2', 'test, by the batch', 45.0),
  (normalization_batch_size, '2', 'training, by the batch', 10.0),
  (normalization_batch_size, '128', 'test, by the batch', 20.0),
  (batch_statistics_inference, '2', 'test, by the batch', 39.0),
  (batch_statistics_inference, '32', 'test, by the batch', 20.0),
  (frozen_bn, '2, frozen', 'error', 39.0),
  (frozen_bn, '32, frozen', 'error', 20.0),
  (domain_statistics, 'shared statistics', 'own statistics', [84, 84]),
  (domain_statistics, 'own statistics', 'shared statistics', [84, 84]),
  (domain_statistics, 'own statistics, scales and offsets', 'own statistics', [90, 90]),
  (target_statistics, 'noise', 'corrupted', 51.0),
  (target_statistics, 'blur', 'corrupted', 60.0),
  (leakage, 'groups of 2 classes', 'test', 86.0),
  (leakage, 'groups of 2 classes', 'training', 80.0),
  (leakage, 'groups of 2 classes, shuffled', 'test', 45.0),
  (leakage, 'groups of 2 classes, synced', 'test', 45.0),
  (replica_equality, 'each device alone', 'logits', [1e-5, 1e-5]),
  (replica_equality, 'synced', 'logits', [0.1, 0.1]),
  (replica_equality, 'normalizer-free', 'logits', [0.1, 0.1]),
]


def name_of(module):
  return module.CLAIM.name


@pytest.mark.parametrize('module', PREDICTED, ids=name_of)
def test_the_judge_accepts_what_the_paper_predicts(module):
  checks = module.CLAIM.judge(PREDICTED[module])
  assert [check for check in checks if not check.holds] == []
  assert all(check.asks and check.found for check in checks)
  figure = Figure()
  module.CLAIM.draw(figure, PREDICTED[module])
  assert figure.axes


@pytest.mark.parametrize(
  ('module', 'cell', 'key', 'value'),
  OPPOSITES,
  ids=lambda x: name_of(x) if hasattr(x, 'CLAIM') else '',
)
def test_the_judge_rejects_the_opposite(module, cell, key, value):
  results = copy.deepcopy(PREDICTED[module])
  results[cell][key] = value
  assert not all(check.holds for check in module.CLAIM.judge(results))


@pytest.mark.slow
@pytest.mark.parametrize('module', PREDICTED, ids=name_of)
def test_a_small_run_can_be_judged_and_drawn(module, digits):
  """All cells, of a small network that has hardly learnt."""
  cells = module.CLAIM.settings[Scale.CPU].cells
  source = Source(digits, lambda done, total: None)
  results = {name: module.CLAIM.measure(tiny(cell), source) for name, cell in cells.items()}
  assert [key for found in results.values() for key in found]
  assert module.CLAIM.judge(results)
  figure = Figure()
  module.CLAIM.draw(figure, results)
  assert figure.axes


def tiny(cell):
  recipe = dataclasses.replace(TINY.recipe, batch_size=cell.bed.recipe.batch_size)
  bed = dataclasses.replace(TINY, family=cell.bed.family, recipe=recipe)
  small = cell._replace(bed=bed)
  for field, value in {'draws': 1, 'looks': 4, 'steps': 2, 'last_steps': 5}.items():
    if field in cell._fields:
      small = small._replace(**{field: value})
  return small
