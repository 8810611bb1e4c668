"""Without normalization the signal doubles in every block; SkipInit's small gain holds it."""

import math
from collections.abc import Sequence

import numpy as np

from nfnets.claims.beds.propagation import Cell, curve, draw, measure
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting
from nfnets.claims.papers import SKIPINIT


def judge(results: Results) -> Sequence[Check]:
  """Growth of the mean square, which is what He's initialization speaks of."""
  plain, held = _mean_square(results['plain']), _mean_square(results['skipinit'])
  factor = math.exp(np.polyfit(range(len(plain)), np.log(plain), 1)[0])
  growth, growth_held = plain[-1] / plain[0], held[-1] / held[0]
  return [
    Check(
      'without a gain the mean square is multiplied by 1.8 to 2.2 in each block',
      f'{factor:.3f}; {growth:.1e} over {len(plain)} blocks',
      1.8 <= factor <= 2.2,
    ),
    Check(
      'with SkipInit at 1/sqrt(blocks) it grows by less than e in all',
      f'{growth_held:.2f}',
      growth_held < math.e,
    ),
  ]


def _mean_square(measured: Measured) -> np.ndarray:
  return curve(measured, 'variance') + curve(measured, 'squared_mean')


def _cells(model: str, blocks: int, batch: int) -> dict[str, Cell]:
  gains = {'plain': 1.0, 'skipinit': blocks**-0.5}
  return {
    name: Cell(model=model, skip_gain=gain, size=32, batch=batch) for name, gain in gains.items()
  }


CLAIM = Claim(
  name='plain_signal',
  title='Without normalization the signal doubles in every block',
  paper=SKIPINIT,
  where='section 3',
  says=(
    "Without normalization, and with He's initialization, skip and branch have equal variance, so "
    'that it doubles in every residual block; a gain of 1/sqrt(blocks) at the end of each branch '
    'keeps it within a factor of e.'
  ),
  rule=(
    'On normal images the mean square of the signal is multiplied by 1.8 to 2.2 in each block (the '
    'padding takes some of it), and with SkipInit gains of 1/sqrt(blocks) by less than e from the '
    'first block to the last.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.SECONDS, cells=_cells('skipinit_wide_resnet_100_2', 48, 8)),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
