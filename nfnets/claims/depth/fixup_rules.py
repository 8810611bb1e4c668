"""Either of Fixup's rules for first weights is enough."""

from collections.abc import Sequence

from nfnets.claims.beds.depths import (
  CPU_RATES,
  FIXUP,
  GPU_RATES,
  LOW_RATES,
  LOWEST_RATES,
  draw_depths,
  on_cpu,
  on_gpu,
)
from nfnets.claims.beds.sweep import TRAINS_FROM, sweep, trains
from nfnets.claims.claim import Check, Claim, Results, Scale
from nfnets.claims.papers import SKIPINIT

ARMS = {
  'Fixup': FIXUP,
  'zeros alone': FIXUP._replace(fixup_rules='zeros'),
  'shrunken alone': FIXUP._replace(fixup_rules='shrunken'),
}


def judge(results: Results) -> Sequence[Check]:
  """All rules, and either alone, train at every depth.

  The lower rates were added after two runs, for the largest stable rate falls with the depth: with
  0.0125 as the lowest, networks of 500 blocks with one rule alone stood still at every rate, as
  those of 50 blocks did at all but the lowest; with 0.001, zeros alone reached 61%, and shrunken
  alone still had no rate that is stable.  The rule is as it was.
  """
  return [trains(cell, measured) for cell, measured in results.items()]


CLAIM = Claim(
  name='fixup_rules',
  title="Either of Fixup's rules is enough",
  paper=SKIPINIT,
  where='section on Fixup',
  says='Fixup trains deep networks because its branches start small.  Two of its rules do that, '
  'and either is enough: zeros in the last layer of each branch, or first weights of the other '
  'layers times d^(-1/(2m - 2)), for d blocks of m layers.',
  rule=f'With both rules and with either alone, {TRAINS_FROM:.0%} test accuracy at every depth.',
  settings={
    Scale.CPU: on_cpu(ARMS, CPU_RATES + LOW_RATES, LOWEST_RATES),
    Scale.GPU: on_gpu(ARMS, GPU_RATES + LOW_RATES),
  },
  measure=sweep,
  judge=judge,
  draw=draw_depths,
)
