"""Batch normalization loses accuracy with tiny batches; normalizer-free networks do not."""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure

from nfnets.claims.beds.pictures import draw_curves
from nfnets.claims.beds.runs import Run, accuracy, measure_run
from nfnets.claims.beds.sizes import CPU, GPU, Bed
from nfnets.claims.claim import Check, Claim, Cost, Results, Scale, Setting
from nfnets.claims.papers import SIGNAL

_KINDS = ('BN', 'NF')
_DEPTHS = (2, 2)
"""First tried with half as many blocks and with batches of 4, 8 and 64: the 125 steps of 64 were so
few that BN (78.2 %) and NF (78.8 %) were both below their 78.9 % and 80.9 % with 4."""
_CPU = dataclasses.replace(
  CPU,
  nf=dataclasses.replace(CPU.nf, depths=_DEPTHS),
  batchnorm=dataclasses.replace(CPU.batchnorm, depths=_DEPTHS),
  examples=8000,
  per_256=0.8,
)
_LOSS = 3.0  # points


def _cells(bed: Bed, batches: Sequence[int]) -> dict[str, Run]:
  cells = {}
  for batch in batches:
    cells[f'BN {batch}'] = bed.run(bed.batchnorm, batch)
    cells[f'NF {batch}'] = bed.run(bed.nf, batch)
  return cells


def _batches(results: Results) -> list[int]:
  return sorted({int(cell.split()[-1]) for cell in results})


def _judge(results: Results) -> list[Check]:
  batches = _batches(results)
  least, most = batches[0], batches[-1]
  bn, nf = ({n: accuracy(results, f'{kind} {n}') for n in batches} for kind in _KINDS)
  return [
    Check(
      f'BN loses at least {_LOSS:g} points from batch {most} to batch {least}',
      f'{bn[most]:.1f} % -> {bn[least]:.1f} %',
      bn[most] - bn[least] >= _LOSS,
    ),
    Check(
      f'NF loses less than {_LOSS:g} points',
      f'{nf[most]:.1f} % -> {nf[least]:.1f} %',
      nf[most] - nf[least] < _LOSS,
    ),
    Check(
      f'at batch {least} NF is at least {_LOSS:g} points ahead of BN',
      f'{nf[least]:.1f} % and {bn[least]:.1f} %',
      nf[least] - bn[least] >= _LOSS,
    ),
  ]


def _draw(figure: Figure, results: Results) -> None:
  batches = _batches(results)
  curves = {kind: (batches, [accuracy(results, f'{kind} {n}') for n in batches]) for kind in _KINDS}
  draw_curves(figure.subplots(), curves, x='batch size', y='test accuracy in %', log_x=True)


CLAIM = Claim(
  name='small_batch',
  title='Tiny batches cost batch normalization its accuracy',
  paper=SIGNAL,
  where='Table 2',
  says=(
    'Trained with batches of 4 images, a BatchNorm ResNet loses many points (55.7 % on ImageNet, '
    'from memory of the paper), a normalizer-free one does not (69.9 %).'
  ),
  rule=(
    'Trained on equally many images at rates that fall with the batch, and tested with population '
    'statistics: from the largest batch to that of 4, BN loses at least 3 points, NF less than 3; '
    'with 4, NF is at least 3 points ahead.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.MINUTES, cells=_cells(_CPU, (4, 16)), dataset='fashion_mnist'),
    Scale.GPU: Setting(
      cost=Cost.GPU,
      cells=_cells(dataclasses.replace(GPU, epochs=5, warmup_epochs=1), (4, 8, 256)),
      dataset='cifar10',
    ),
  },
  measure=measure_run,
  judge=_judge,
  draw=_draw,
)
