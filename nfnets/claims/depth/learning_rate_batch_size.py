"""The best learning rate over the batch size, with and without batch normalization."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from nfnets.claims.beds.depths import BATCHNORM, SKIPINIT
from nfnets.claims.beds.pictures import draw_curves
from nfnets.claims.beds.residual_mlp import ResidualMLP
from nfnets.claims.beds.straight_line import fit_line
from nfnets.claims.beds.sweep import Sweep, best, sweep
from nfnets.claims.beds.training import Network, Recipe
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting
from nfnets.claims.papers import SKIPINIT as PAPER
from nfnets.models.zoo import create_model

_ARMS = {'BatchNorm': BATCHNORM, 'SkipInit': SKIPINIT}
_NEARLY = 0.01
"""Rates whose accuracy is that close to the best count as best; of them the geometric mean."""
_STABLE_FROM = 0.5
"""Accuracy from which on a rate counts as stable."""


def _cells(
  networks: Mapping[str, Network],
  *,
  batches: Sequence[int],
  rates: Mapping[int, tuple[float, ...]],
  images: int,
  epochs: int,
  dataset: str,
  pooled: int,
  padding: int,
) -> dict[str, Sweep]:
  return {
    f'{name}, batch {batch}': Sweep(
      network=network,
      dataset=dataset,
      pooled=pooled,
      train_images=images,
      recipe=Recipe(
        batch_size=batch,
        steps=epochs * images // batch,
        learning_rate=0.0,
        weight_decay=5e-4,
        padding=padding,
        flip=padding > 0,
      ),
      rates=rates[batch],
    )
    for name, network in networks.items()
    for batch in batches
  }


def _powers(first: int, last: int) -> tuple[float, ...]:
  """2^first to 2^last."""
  return tuple(2.0**power for power in range(first, last + 1))


_CPU = _cells(
  {
    name: ResidualMLP(scheme=arm.mlp, blocks=6, skip_gain=arm.skip_gain or 0.0)
    for name, arm in _ARMS.items()
  },
  batches=(32, 128, 512, 1024),
  rates={32: _powers(-10, -2), 128: _powers(-9, 0), 512: _powers(-8, 2), 1024: _powers(-7, 3)},
  images=8192,
  epochs=4,
  dataset='fashion_mnist',
  pooled=2,
  padding=0,
)
_GPU = _cells(
  {name: create_model(f'{arm.wide}_16_4', 10) for name, arm in _ARMS.items()},
  batches=(64, 256, 1024, 4096),
  rates={64: _powers(-8, -1), 256: _powers(-6, 0), 1024: _powers(-4, 2), 4096: _powers(-3, 3)},
  images=49_152,
  epochs=10,
  dataset='cifar10',
  pooled=1,
  padding=4,
)


def _of(results: Results, name: str) -> dict[int, Measured]:
  """By batch size."""
  return {
    int(cell.rpartition(' ')[2]): found
    for cell, found in results.items()
    if cell.startswith(f'{name},')
  }


def _best_rate(found: Measured) -> float:
  accuracies = np.nan_to_num(np.asarray(found['accuracies'], float))
  near = np.asarray(found['rates'])[accuracies >= accuracies.max() - _NEARLY]
  return float(np.exp(np.mean(np.log(near))))


def _largest_stable(found: Measured) -> float:
  accuracies = np.nan_to_num(np.asarray(found['accuracies'], float))
  stable = np.asarray(found['rates'])[accuracies >= _STABLE_FROM]
  return float(stable.max()) if len(stable) else 0.0


def judge(results: Results) -> Sequence[Check]:
  """The paper's four sentences."""
  by_arm = {name: _of(results, name) for name in _ARMS}
  batches = sorted(by_arm['BatchNorm'])
  smallest, largest = batches[0], batches[-1]
  checks = []
  for name, found in by_arm.items():
    rates = [_best_rate(found[batch]) for batch in batches]
    power = fit_line(np.log2(batches[:3]), np.log2(rates[:3])).slope
    checks.append(
      Check(
        f'{name}: best rate proportional to the batch up to {batches[2]}, power 0.5 to 1.5',
        f'power {power:.2f}; ' + ', '.join(f'{rate:.3g}' for rate in rates),
        0.5 <= power <= 1.5,
      )
    )
  both = [_best_rate(by_arm[name][smallest]) for name in _ARMS]
  stable = [_largest_stable(by_arm[name][largest]) for name in _ARMS]
  accurate = [best(by_arm[name][largest]).accuracy for name in _ARMS]
  return [
    *checks,
    Check(
      f'batch {smallest}: best rates of both within a factor of 2',
      f'{both[0]:.3g} with BatchNorm, {both[1]:.3g} with SkipInit',
      abs(math.log2(both[0] / both[1])) <= 1,
    ),
    Check(
      f'batch {largest}: largest stable rate of BatchNorm at least twice that of SkipInit',
      f'{stable[0]:g} with BatchNorm, {stable[1]:g} with SkipInit',
      stable[0] >= 2 * stable[1],
    ),
    Check(
      f'batch {largest}: BatchNorm is more accurate',
      f'{accurate[0]:.1%} with BatchNorm, {accurate[1]:.1%} with SkipInit',
      accurate[0] > accurate[1],
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """Best and largest stable rates, and accuracies, over the batch size."""
  rates, accuracies = figure.subplots(1, 2)
  curves, accurate = {}, {}
  for name in _ARMS:
    found = _of(results, name)
    batches = sorted(found)
    curves[f'{name}, best'] = (batches, [_best_rate(found[batch]) for batch in batches])
    curves[f'{name}, largest stable'] = (
      batches,
      [_largest_stable(found[batch]) for batch in batches],
    )
    accurate[name] = (batches, [100 * best(found[batch]).accuracy for batch in batches])
  draw_curves(rates, curves, x='batch size', y='learning rate', log_x=True, log_y=True)
  draw_curves(accuracies, accurate, x='batch size', y='test accuracy, best rate (%)', log_x=True)


CLAIM = Claim(
  name='learning_rate_batch_size',
  title='BatchNorm allows large learning rates, which only large batches need',
  paper=PAPER,
  where='Figures 5 and 6',
  says='For a fixed number of epochs the best learning rate is about proportional to the batch '
  'size while that is small, and then the same with BatchNorm and with SkipInit.  Without '
  'normalization the largest stable rate is smaller, so large batches train well with BatchNorm '
  'only.',
  rule='Over the three smallest batches the best rate grows with a power of 0.5 to 1.5 of the '
  'batch for both; at the smallest both are within a factor of 2; at the largest the largest '
  'stable rate of BatchNorm is at least twice that of SkipInit, and BatchNorm more accurate.',
  settings={
    Scale.CPU: Setting(cost=Cost.MINUTES, dataset='fashion_mnist', cells=_CPU),
    Scale.GPU: Setting(cost=Cost.GPU, dataset='cifar10', cells=_GPU),
  },
  measure=sweep,
  judge=judge,
  draw=draw,
)
