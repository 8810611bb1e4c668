"""Dividing by the square root of 2 keeps the variance, and still fails at depth."""

from collections.abc import Sequence

from nfnets.claims.beds.depths import (
  CPU_RATES,
  GPU_RATES,
  SQRT2,
  TINY_RATES,
  depth_of,
  draw_depths,
  on_cpu,
  on_gpu,
)
from nfnets.claims.beds.sweep import FAILS_TO, TRAINS_FROM, best, fails, sweep, trains
from nfnets.claims.claim import Check, Claim, Results, Scale
from nfnets.claims.papers import SKIPINIT

ARMS = {'divided by sqrt(2)': SQRT2}


def judge(results: Results) -> Sequence[Check]:
  """The shallowest trains, the deepest does not, and none is better than a shallower one."""
  cells = sorted(results, key=depth_of)
  accuracies = [best(results[cell]).accuracy for cell in cells]
  return [
    trains(cells[0], results[cells[0]]),
    Check(
      f'{cells[1]}: no better than {cells[0]}',
      f'{accuracies[1]:.1%} against {accuracies[0]:.1%}',
      accuracies[1] <= accuracies[0],
    ),
    fails(cells[-1], results[cells[-1]]),
  ]


CLAIM = Claim(
  name='sqrt2_fails_deep',
  title='Dividing by the square root of 2 is not enough',
  paper=SKIPINIT,
  where='Table 2',
  says='Dividing the sum of shortcut and branch by the square root of 2 keeps the variance, but '
  'gives both paths the same weight in every block: accuracy falls with depth, and 1000 layers do '
  'not train.  What matters is that the shortcut dominates.',
  rule=f'The shallowest network reaches {TRAINS_FROM:.0%} test accuracy, the next is no better, '
  f'and the deepest diverges or stays at {FAILS_TO:.0%} or less, whatever the learning rate.',
  settings={
    Scale.CPU: on_cpu(ARMS, CPU_RATES + TINY_RATES),
    Scale.GPU: on_gpu(ARMS, GPU_RATES + TINY_RATES[:1]),
  },
  measure=sweep,
  judge=judge,
  draw=draw_depths,
)
