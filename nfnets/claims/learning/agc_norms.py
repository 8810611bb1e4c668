"""Norms by unit against norms by layer and of everything, and against plain clipping."""

import dataclasses
from typing import get_args

from matplotlib.figure import Figure

from nfnets.claims.beds.pictures import draw_curves
from nfnets.claims.beds.runs import Run, accuracy, measure_run
from nfnets.claims.beds.sizes import CPU, GPU, Bed
from nfnets.claims.claim import Check, Claim, Cost, Results, Scale, Setting
from nfnets.claims.papers import NFNETS
from nfnets.optim.agc import Norm

_UNIT, _LAYER, _GLOBAL = (f'AGC by {norm}' for norm in get_args(Norm))
_PLAIN = 'plain clipping'
_NEAR = 3.0  # points below the best threshold of a way to clip
_MIDDLE = 0.04  # of the clippings of AGC
_MIDDLE_NORM = 0.5  # of plain clipping
_FACTORS = (1 / 64, 1 / 8, 1, 8, 64)
_FEW_FACTORS = (1 / 8, 1, 8)  # for the ways whose best alone is judged


def _cells(bed: Bed, batch: int) -> dict[str, Run]:
  plain = bed.run(bed.nf, batch)
  cells = {}
  for factor in _FACTORS:
    for norm in get_args(Norm):
      if norm != 'unit' and factor not in _FEW_FACTORS:
        continue
      run = bed.run(bed.nf, batch, clipping=_MIDDLE * factor)
      recipe = dataclasses.replace(run.recipe, clip_norm=norm)
      cells[f'AGC by {norm} x {factor:g}'] = dataclasses.replace(run, recipe=recipe)
    recipe = dataclasses.replace(plain.recipe, max_norm=_MIDDLE_NORM * factor)
    cells[f'{_PLAIN} x {factor:g}'] = dataclasses.replace(plain, recipe=recipe)
  return cells


def _rows(results: Results) -> dict[str, dict[float, float]]:
  """way to clip -> factor of its threshold -> accuracy."""
  rows: dict[str, dict[float, float]] = {}
  for cell in results:
    way, factor = cell.split(' x ')
    rows.setdefault(way, {})[float(factor)] = accuracy(results, cell)
  return rows


def _judge(results: Results) -> list[Check]:
  rows = _rows(results)
  best = {way: max(row.values()) for way, row in rows.items()}
  good = {
    way: sum(found >= best[way] - _NEAR for found in row.values()) for way, row in rows.items()
  }
  return [
    Check(
      'AGC by unit is at its best at most half a point below AGC by layer and of everything',
      ', '.join(f'{way}: {best[way]:.1f} %' for way in (_UNIT, _LAYER, _GLOBAL)),
      best[_UNIT] >= max(best[_LAYER], best[_GLOBAL]) - 0.5,
    ),
    Check(
      f'plain clipping works: at its best at most {_NEAR:g} points below AGC by unit',
      f'{best[_PLAIN]:.1f} %',
      best[_PLAIN] >= best[_UNIT] - _NEAR,
    ),
    Check(
      f'it is more sensitive: fewer thresholds come within {_NEAR:g} points of the best',
      f'{good[_PLAIN]} of {len(rows[_PLAIN])}, AGC by unit {good[_UNIT]}',
      good[_PLAIN] < good[_UNIT],
    ),
  ]


def _draw(figure: Figure, results: Results) -> None:
  curves = {
    way: (sorted(row), [row[factor] for factor in sorted(row)])
    for way, row in _rows(results).items()
  }
  draw_curves(
    figure.subplots(),
    curves,
    x='threshold as a multiple of the middle one',
    y='test accuracy in %',
    log_x=True,
  )


CLAIM = Claim(
  name='agc_norms',
  title='Norms by unit against other ways to clip',
  paper=NFNETS,
  where='section 4',
  says=(
    'AGC works better with the norms of units than with those of layers.  Clipping the norm of the '
    'whole gradient makes training with large batches possible, but is very sensitive to the '
    'threshold.'
  ),
  rule=(
    'At a large batch, with five thresholds over a factor of 4096 (three for layers and for '
    'everything): the best of AGC by '
    'unit is at most half a point below the best by layer and of everything; the best of plain '
    'clipping at most 3 points below it; and fewer thresholds of plain clipping than of AGC by '
    'unit come within 3 points of their best.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.MINUTES, cells=_cells(CPU, 256), dataset='fashion_mnist'),
    Scale.GPU: Setting(cost=Cost.GPU, cells=_cells(GPU, 4096), dataset='cifar10'),
  },
  measure=measure_run,
  judge=_judge,
  draw=_draw,
)
