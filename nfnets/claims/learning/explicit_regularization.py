"""Without batch normalization networks overfit; explicit regularization helps."""

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from nfnets.claims.beds.pictures import draw_values
from nfnets.claims.beds.runs import Net, Run, accuracy, gap, measure_run
from nfnets.claims.beds.sizes import CPU_FEW, GPU, Bed
from nfnets.claims.claim import Check, Claim, Cost, Results, Scale, Setting
from nfnets.claims.papers import SIGNAL

_BN, _NF, _REGULARIZED = 'BN', 'NF', 'NF regularized'
_DROP_RATE, _STOCHDEPTH_RATE = 0.25, 0.1
_SEEDS = range(2)


def _cells(bed: Bed, batch: int) -> dict[str, Run]:
  def regularized(net: Net) -> Net:
    return dataclasses.replace(net, drop_rate=_DROP_RATE, stochdepth_rate=_STOCHDEPTH_RATE)

  nets = {_BN: bed.batchnorm, _NF: bed.nf, _REGULARIZED: regularized(bed.nf)}
  return {
    f'{name} seed {seed}': bed.run(net, batch, seed=seed)
    for name, net in nets.items()
    for seed in _SEEDS
  }


def _of(results: Results, name: str) -> list[str]:
  return [cell for cell in results if cell.startswith(f'{name} seed ')]


def _judge(results: Results) -> list[Check]:
  names = (_BN, _NF, _REGULARIZED)
  loss = {n: np.mean([results[c]['train_loss'] for c in _of(results, n)]) for n in names}
  rise = {n: np.mean([results[c]['test_loss'] for c in _of(results, n)]) - loss[n] for n in names}
  wide = {n: np.mean([gap(results, c) for c in _of(results, n)]) for n in names}
  return [
    Check(
      'the training loss of NF is lower than that of BN',
      f'NF {loss[_NF]:.4f}, BN {loss[_BN]:.4f}',
      bool(loss[_NF] < loss[_BN]),
    ),
    Check(
      'the gap between training and test accuracy of NF is larger than that of BN',
      f'NF {wide[_NF]:.1f} points, BN {wide[_BN]:.1f}; '
      f'the gap in loss: NF {rise[_NF]:.2f}, BN {rise[_BN]:.2f}',
      bool(wide[_NF] > wide[_BN]),
    ),
    Check(
      'dropout and stochastic depth narrow the gap of NF by half a point or more',
      f'from {wide[_NF]:.1f} points to {wide[_REGULARIZED]:.1f}',
      bool(wide[_NF] - wide[_REGULARIZED] >= 0.5),
    ),
  ]


def _draw(figure: Figure, results: Results) -> None:
  left, right = figure.subplots(1, 2)
  names = (_BN, _NF, _REGULARIZED)
  for axes, value, label in (
    (left, gap, 'training less test accuracy in points'),
    (right, accuracy, 'test accuracy in %'),
  ):
    values = {n.replace(' ', '\n'): [value(results, c) for c in _of(results, n)] for n in names}
    draw_values(axes, values, y=label)


CLAIM = Claim(
  name='explicit_regularization',
  title='Without batch normalization networks need explicit regularization',
  paper=SIGNAL,
  where='Table 1 and section 5',
  says=(
    'Batch normalization regularizes.  Normalizer-free networks without any regularization reach a '
    'lower training loss but overfit; dropout and stochastic depth bring them back.'
  ),
  rule=(
    'Means over two seeds, evaluated after training on few images for many epochs: NF has a lower '
    'training loss and a larger gap between training and test accuracy than BN; dropout of 0.25 '
    'and stochastic depth of 0.1 narrow its gap by half a point or more.'
  ),
  settings={
    Scale.CPU: Setting(
      cost=Cost.MINUTES,
      cells=_cells(CPU_FEW, 64),
      dataset='fashion_mnist',
    ),
    Scale.GPU: Setting(
      cost=Cost.GPU,
      cells=_cells(dataclasses.replace(GPU, epochs=40), 256),
      dataset='cifar10',
    ),
  },
  measure=measure_run,
  judge=_judge,
  draw=_draw,
)
