"""A fifth of the batch is enough for SAM's ascent, if it is of the same batch."""

import numpy as np
from matplotlib.figure import Figure

from nfnets.claims.beds.pictures import draw_values
from nfnets.claims.beds.recipe import Sam
from nfnets.claims.beds.sam import accuracies, mean, measure_sam, sam_settings
from nfnets.claims.claim import Check, Claim, Results
from nfnets.claims.papers import NFNETS

_RHO = 0.05
_NONE, _FULL, _SAME, _OTHER = 'SGD', 'whole batch', 'fifth of it', 'fifth of another'
_WAYS = {
  _NONE: None,
  _FULL: Sam(_RHO),
  _SAME: Sam(_RHO, share=0.2),
  _OTHER: Sam(_RHO, share=0.2, same=False),
}


def _judge(results: Results) -> list[Check]:
  base = np.mean(accuracies(results, _NONE))
  gain = {way: float(np.mean(accuracies(results, way)) - base) for way in (_FULL, _SAME, _OTHER)}
  seconds = {way: mean(results, way, 'seconds_between_reports') for way in _WAYS}
  times = ', '.join(f'{way} {seconds[way] / seconds[_NONE]:.1f}' for way in (_FULL, _SAME))
  return [
    Check(
      'SAM with the whole batch gains accuracy',
      f'{gain[_FULL]:+.2f} points; time of a step over that of SGD: {times}',
      gain[_FULL] > 0,
    ),
    Check(
      'a fifth of the same batch keeps at least half of the gain',
      f'{gain[_SAME]:+.2f} points',
      gain[_SAME] >= gain[_FULL] / 2,
    ),
    Check(
      'a fifth of another batch keeps less than half of it',
      f'{gain[_OTHER]:+.2f} points',
      gain[_OTHER] < gain[_FULL] / 2,
    ),
  ]


def _draw(figure: Figure, results: Results) -> None:
  axes = figure.subplots()
  values = {way.replace(' of ', '\nof '): accuracies(results, way) for way in _WAYS}
  draw_values(axes, values, y='test accuracy in %')
  every = [value for got in values.values() for value in got]
  axes.set_ylim(min(every) - 1, max(every) + 1)


CLAIM = Claim(
  name='fast_sam',
  title="A fifth of the batch is enough for SAM's ascent, if it is of the same batch",
  paper=NFNETS,
  where='appendix A.4',
  says=(
    'Computing the ascent from 20 % of the batch costs 20 to 40 % of time instead of 100 %, with '
    'equal accuracy; 20 % of another batch destroys the gain.'
  ),
  rule=(
    'Means over three seeds, against SGD alone: SAM gains accuracy; the ascent from a fifth of the '
    'same batch keeps at least half of the gain, that from a fifth of another batch less than '
    'half.  Times are told, not judged.'
  ),
  settings=sam_settings(_WAYS),
  measure=measure_sam,
  judge=_judge,
  draw=_draw,
)
