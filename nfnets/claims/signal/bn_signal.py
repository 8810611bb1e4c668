"""Batch normalization makes the signal grow in steps, and the transitions start it anew."""

import math
from collections.abc import Sequence

import numpy as np

from nfnets.claims.beds.propagation import Cell, by_stage, curve, draw, measure
from nfnets.claims.claim import Check, Claim, Cost, Results, Scale, Setting
from nfnets.claims.papers import SIGNAL

_HE_OVER_CUT = (2 / 0.7737413) ** 0.5  # the zoo's ResNets draw normal numbers cut at 2 deviations
_BEHIND_RELU = 1 - 1 / math.pi
_LONG = 4  # blocks that make a line worth the name


def judge(results: Results) -> Sequence[Check]:
  """Lines within stages, resets between them, the variance of the branches, and the means."""
  (measured,) = results.values()
  variances, means = by_stage(measured, 'variance'), by_stage(measured, 'squared_mean')
  branch = curve(measured, 'branch_variance')
  fits = [_line(stage) for stage in variances if len(stage) >= _LONG]
  slopes = [
    np.polyfit(range(len(stage)), stage, 1)[0] / np.mean(of_branch)
    for stage, of_branch in zip(variances, by_stage(measured, 'branch_variance'), strict=True)
    if len(stage) >= _LONG
  ]
  first, last = [stage[0] for stage in variances], [stage[-1] for stage in variances]
  longest = max(means, key=len)
  growth = longest[-1] / longest[0]
  return [
    Check(
      'within every stage of 4 blocks or more the variance is a line: R² of 0.98 or more',
      f'least {min(fits):.4f}',
      min(fits) >= 0.98,
    ),
    Check(
      'its slope is what a branch adds, within 10 %',
      ', '.join(f'{slope:.2f}' for slope in slopes) + ' times the mean variance of a branch',
      all(abs(slope - 1) <= 0.1 for slope in slopes),
    ),
    Check(
      'the first block of every stage starts anew, between 0.8 and 1.8',
      ', '.join(f'{one:.2f}' for one in first) + '; ends ' + ', '.join(f'{x:.1f}' for x in last),
      all(0.8 <= one <= 1.8 for one in first),
    ),
    Check(
      'every branch has variance 1 - 1/pi = 0.68 within 0.05',
      f'{branch.min():.3f} to {branch.max():.3f}',
      bool(np.all(np.abs(branch - _BEHIND_RELU) <= 0.05)),
    ),
    Check(
      'the squared mean grows through the longest stage to 5 times its start or more',
      f'{growth:.1f} times in {len(longest)} blocks, R² {_line(longest):.4f}',
      growth >= 5,
    ),
  ]


def _line(values: np.ndarray) -> float:
  """R² of a straight line."""
  return float(np.corrcoef(range(len(values)), values)[0, 1] ** 2)


CLAIM = Claim(
  name='bn_signal',
  title='With batch normalization the variance grows in lines and starts anew at transitions',
  paper=SIGNAL,
  where='Figure 1',
  says=(
    'In a pre-activation ResNet with batch normalization before ReLU the variance grows linearly '
    'within a stage and is reset to about 1 at each transition; every branch ends with variance '
    '0.68; the squared mean of the channels grows too.'
  ),
  rule=(
    "At He's initialization, on normal images: in every stage of 4 blocks or more the variance is "
    'a line (R² of 0.98 or more) whose slope is the variance of the branches within 10 %; every '
    'stage begins between 0.8 and 1.8; every branch ends with 0.68 within 0.05; in the longest '
    'stage the squared mean grows to 5 times its start or more.'
  ),
  settings={
    Scale.CPU: Setting(
      cost=Cost.SECONDS,
      cells={'resnet101': Cell(model='resnet101', size=224, batch=4, kernel_scale=_HE_OVER_CUT)},
    ),
    Scale.GPU: Setting(
      cost=Cost.GPU,
      cells={'resnet600': Cell(model='resnet600', size=224, batch=32, kernel_scale=_HE_OVER_CUT)},
    ),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
