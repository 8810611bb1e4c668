"""Normalizer-free networks train at any depth."""

from collections.abc import Sequence

from nfnets.claims.beds.depths import NF, draw_depths, on_cpu, on_gpu
from nfnets.claims.beds.sweep import TRAINS_FROM, sweep, trains
from nfnets.claims.claim import Check, Claim, Results, Scale
from nfnets.claims.papers import SIGNAL

ARMS = {'NF: scaled weight standardization': NF}


def judge(results: Results) -> Sequence[Check]:
  """It trains at every depth."""
  return [trains(cell, measured) for cell, measured in results.items()]


CLAIM = Claim(
  name='nf_trains_deep',
  title='Normalizer-free networks train at any depth',
  paper=SIGNAL,
  where='section 3',
  says='With scaled weight standardization, branches scaled by alpha and inputs divided by their '
  'predicted deviation, networks without normalization train however deep they are.',
  rule=f'{TRAINS_FROM:.0%} test accuracy at every depth.',
  settings={Scale.CPU: on_cpu(ARMS), Scale.GPU: on_gpu(ARMS)},
  measure=sweep,
  judge=judge,
  draw=draw_depths,
)
