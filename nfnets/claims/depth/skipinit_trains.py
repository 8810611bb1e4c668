"""SkipInit trains networks of any depth, as batch normalization does."""

from collections.abc import Sequence

from nfnets.claims.beds.depths import (
  BATCHNORM,
  SKIPINIT,
  SKIPINIT_BY_DEPTH,
  draw_depths,
  on_cpu,
  on_gpu,
)
from nfnets.claims.beds.sweep import TRAINS_FROM, sweep, trains
from nfnets.claims.claim import Check, Claim, Results, Scale
from nfnets.claims.papers import SKIPINIT as PAPER

ARMS = {
  'BatchNorm': BATCHNORM,
  'SkipInit, gain 0': SKIPINIT,
  'SkipInit, gain 1/sqrt(d)': SKIPINIT_BY_DEPTH,
}


def judge(results: Results) -> Sequence[Check]:
  """Every scheme trains at every depth."""
  return [trains(cell, measured) for cell, measured in results.items()]


CLAIM = Claim(
  name='skipinit_trains',
  title='SkipInit trains at any depth, as BatchNorm does',
  paper=PAPER,
  where='Table 1',
  says='Residual networks of up to 1000 layers train without normalization if the gain at the end '
  'of each branch starts at 0 or at 1/sqrt(d); they come close to those with BatchNorm.',
  rule=f'Every scheme reaches {TRAINS_FROM:.0%} test accuracy at every depth.',
  settings={Scale.CPU: on_cpu(ARMS), Scale.GPU: on_gpu(ARMS)},
  measure=sweep,
  judge=judge,
  draw=draw_depths,
)
