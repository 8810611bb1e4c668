"""The signal of a normalizer-free network follows the recursion that its betas count on."""

from collections.abc import Sequence

import numpy as np

from nfnets.claims.beds.propagation import Cell, by_stage, curve, draw, measure
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting
from nfnets.claims.papers import SIGNAL


def judge(results: Results) -> Sequence[Check]:
  """Block by block."""
  return [check for name, measured in results.items() for check in _judge(name, measured)]


def _judge(name: str, measured: Measured) -> Sequence[Check]:
  ratio = curve(measured, 'variance') / curve(measured, 'assumed_variance')
  share = curve(measured, 'squared_mean') / curve(measured, 'variance')
  branch = curve(measured, 'branch_variance')
  starts = [stage[0] for stage in by_stage(measured, 'variance')]
  return [
    Check(
      f'{name}: the variance behind every block is that of the recursion within 10 %',
      f'{ratio.min():.3f} to {ratio.max():.3f} times',
      bool(np.all(np.abs(ratio - 1) <= 0.1)),
    ),
    Check(
      f'{name}: every stage begins at 1 + alpha² = 1.04 within 10 %',
      ', '.join(f'{one:.3f}' for one in starts),
      all(abs(one / 1.04 - 1) <= 0.1 for one in starts),
    ),
    Check(
      f'{name}: every branch ends with variance 1 within 0.1',
      f'{branch.min():.3f} to {branch.max():.3f}',
      bool(np.all(np.abs(branch - 1) <= 0.1)),
    ),
    Check(
      f'{name}: the squared mean is at most 5 % of the variance',
      f'at most {share.max():.2%}',
      bool(share.max() <= 0.05),
    ),
  ]


CLAIM = Claim(
  name='nf_recursion',
  title='NF-ResNets keep the variance that their betas count on',
  paper=SIGNAL,
  where='Figure 2',
  says=(
    'With scaled weight standardization and beta, branches have variance 1, and the variance '
    'behind the k-th block of a stage is 1 + k alpha², which each transition resets; the channels '
    'have no mean.'
  ),
  rule=(
    'At initialization with gain 1, on normal images: behind every block the variance is that of '
    'the recursion within 10 %, every stage begins at 1.04 within 10 %, every branch ends with 1 '
    'within 0.1, and the squared mean is at most 5 % of the variance.'
  ),
  settings={
    Scale.CPU: Setting(
      cost=Cost.SECONDS,
      cells={'nf_resnet101': Cell(model='nf_resnet101', skip_gain=1.0, size=448, batch=2)},
    ),
    Scale.GPU: Setting(
      cost=Cost.GPU,
      cells={'nf_resnet600': Cell(model='nf_resnet600', skip_gain=1.0, size=448, batch=16)},
    ),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
