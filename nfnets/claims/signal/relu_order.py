"""Batch normalization behind ReLU leaves no mean; standardized weights imitate that order."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from nfnets.claims.beds.propagation import by_stage, curve, draw
from nfnets.claims.beds.stacks import Stack, measure
from nfnets.claims.claim import Check, Claim, Cost, Results, Scale, Setting
from nfnets.claims.papers import SIGNAL


def judge(results: Results) -> Sequence[Check]:
  """Both orders, and the imitation of the second."""
  before, behind, free = (results[name] for name in ('bn_relu', 'relu_bn', 'scaled_ws'))
  growth = [stage[-1] / stage[0] for stage in by_stage(before, 'squared_mean')]
  share = curve(behind, 'squared_mean') / curve(behind, 'variance')
  ratio = curve(free, 'variance') / curve(behind, 'variance')
  return [
    _branches(results, 'bn_relu', 1 - 1 / math.pi),
    Check(
      'bn_relu: the squared mean grows to 3 times its start or more in every stage',
      ', '.join(f'{one:.1f}' for one in growth) + ' times',
      min(growth) >= 3,
    ),
    _branches(results, 'relu_bn', 1.0),
    Check(
      'relu_bn: the squared mean is at most 5 % of the variance',
      f'at most {share.max():.2%}',
      share.max() <= 0.05,
    ),
    Check(
      'scaled_ws has the variance of relu_bn within 10 %, block by block',
      f'{ratio.min():.3f} to {ratio.max():.3f} times',
      bool(np.all(np.abs(ratio - 1) <= 0.1)),
    ),
  ]


def _branches(results: Results, name: str, expected: float) -> Check:
  branch = curve(results[name], 'branch_variance')
  return Check(
    f'{name}: every branch ends with variance {expected:.2f} within 0.05',
    f'{branch.min():.3f} to {branch.max():.3f}',
    bool(np.all(np.abs(branch - expected) <= 0.05)),
  )


def _cells(depths: tuple[int, ...], width: int, size: int) -> dict[str, Stack]:
  before = Stack(
    order='bn_relu', kernels='normal', factor=2.0, depths=depths, width=width, size=size
  )
  return {
    'bn_relu': before,
    'relu_bn': dataclasses.replace(before, order='relu_bn', factor=1.0),
    'scaled_ws': dataclasses.replace(before, order='free', kernels='standardized'),
  }


CLAIM = Claim(
  name='relu_order',
  title='Scaled weight standardization does what batch normalization behind ReLU does',
  paper=SIGNAL,
  where='Figures 1 and 2',
  says=(
    'With batch normalization before ReLU branches end with variance 0.68 and means add up; behind '
    'ReLU, with variance 1 and no means. Normalizer-free networks with scaled weight '
    'standardization match the second order.'
  ),
  rule=(
    'BN-ReLU-Conv: every branch ends with 0.68 within 0.05, and the squared mean grows to 3 times '
    'its start or more in every stage. ReLU-BN-Conv: 1 within 0.05, and a squared mean of at most '
    '5 % of the variance. Scaled weight standardization has the variance of the latter within '
    '10 % behind every block.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.SECONDS, cells=_cells((8, 8, 8), 128, 8)),
    Scale.GPU: Setting(cost=Cost.GPU, cells=_cells((50, 50, 50, 50), 256, 16)),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
