"""Without a small gain at the end of the branches, deep networks do not train."""

from collections.abc import Sequence

from nfnets.claims.beds.depths import (
  CPU_RATES,
  GPU_RATES,
  TINY_RATES,
  UNIT_GAIN,
  depth_of,
  draw_depths,
  on_cpu,
  on_gpu,
)
from nfnets.claims.beds.sweep import FAILS_TO, TRAINS_FROM, fails, sweep, trains
from nfnets.claims.claim import Check, Claim, Results, Scale
from nfnets.claims.papers import SKIPINIT

ARMS = {'SkipInit, gain 1': UNIT_GAIN}
_SHALLOW = 16  # layers on a GPU; on a CPU there are 8 blocks


def judge(results: Results) -> Sequence[Check]:
  """The shallow network trains, the others do not.

  Rates down to 1e-7 were added after a first run, which makes it harder to fail at all of them.
  """
  return [
    (trains if depth_of(cell) <= _SHALLOW else fails)(cell, measured)
    for cell, measured in results.items()
  ]


CLAIM = Claim(
  name='unit_gain_fails',
  title='With gains of 1, deep networks do not train',
  paper=SKIPINIT,
  where='Table 2',
  says='If the gains start at 1, the signal doubles with every block: a network of 16 layers still '
  'trains, those of 100 and 1000 do not.',
  rule=f'The shallow network reaches {TRAINS_FROM:.0%} test accuracy; the deeper ones diverge or '
  f'stay at {FAILS_TO:.0%} or less, whatever the learning rate.',
  settings={
    Scale.CPU: on_cpu(ARMS, CPU_RATES + TINY_RATES),
    Scale.GPU: on_gpu(ARMS, GPU_RATES + TINY_RATES[:1]),
  },
  measure=sweep,
  judge=judge,
  draw=draw_depths,
)
