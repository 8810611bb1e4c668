"""Networks of small normalization batches, evaluated as they were trained."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nfnets.claims import styles
from nfnets.claims.beds.norm_bed import LARGE, SMALL
from nfnets.claims.beds.normalization_sweep import cells, measure
from nfnets.claims.claim import Check, Claim, Cost, Results, Scale, Setting
from nfnets.claims.papers import BATCHNORM

_WAYS = ('test, by the population', 'test, by moving averages', 'test, by the batch')


def judge(results: Results) -> Sequence[Check]:
  """It rescues the smallest, and does nothing for the others."""
  small, usual = results['2'], results['32']
  population, batch = _WAYS[0], _WAYS[2]
  return [
    Check(
      'trained with 2 examples: at least 3 points less error by statistics of the batch',
      f'{small[population]:.2f} % by the population, {small[batch]:.2f} % by the batch',
      small[batch] <= small[population] - 3,
    ),
    Check(
      'trained with 32: within 1 point',
      f'{usual[population]:.2f} % by the population, {usual[batch]:.2f} % by the batch',
      abs(usual[batch] - usual[population]) <= 1,
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """Bars of errors."""
  axes = figure.subplots()
  places = np.arange(len(results))
  for number, (way, colour) in enumerate(zip(_WAYS, styles.COLOURS, strict=False)):
    errors = [found[way] for found in results.values()]
    axes.bar(places + 0.25 * (number - 1), errors, 0.22, color=colour, label=way)
  axes.set_xticks(places, list(results))
  axes.legend(frameon=False, loc='upper left', bbox_to_anchor=(1, 1))
  styles.finish(axes, x='normalization batch size of training', y='test error, %')


CLAIM = Claim(
  name='batch_statistics_inference',
  title='Statistics of the batch in inference rescue small normalization batches',
  paper=BATCHNORM,
  where='section 4, Figure 4 and Table 3',
  says=(
    'What hurts a network that was trained with very small normalization batches is that inference '
    'normalizes otherwise. With statistics of equally small batches in inference too, most of the '
    'loss is gone; with larger batches there is nothing to gain.'
  ),
  rule=(
    'Trained with statistics of 2 examples, the test error is at least 3 points lower by '
    'statistics of 2 examples than by those of the population; trained with 32, within 1 point.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.MINUTES, cells=cells(SMALL, (2, 32)), dataset=SMALL.dataset),
    Scale.GPU: Setting(cost=Cost.GPU, cells=cells(LARGE, (2, 32)), dataset=LARGE.dataset),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
