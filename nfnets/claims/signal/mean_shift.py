"""Behind ReLU, channels get means that outgrow the variance; standardized weights prevent it."""

import dataclasses
from collections.abc import Sequence

from nfnets.claims.beds.propagation import by_stage, curve, draw
from nfnets.claims.beds.stacks import Stack, measure
from nfnets.claims.claim import Check, Claim, Cost, Results, Scale, Setting
from nfnets.claims.papers import SIGNAL


def judge(results: Results) -> Sequence[Check]:
  """The squared mean beside the variance."""
  he = results['he']
  mean, variance = curve(he, 'squared_mean')[-1], curve(he, 'variance')[-1]
  branch = curve(he, 'branch_variance')
  first, *_, last = (stage.mean() for stage in by_stage(he, 'branch_variance'))
  return [
    Check(
      'without weight standardization the squared mean of the last block exceeds its variance',
      f'{mean:.3g} and {variance:.3g}',
      mean > variance,
    ),
    Check(
      'there all branches have a variance below 1, and a lower one in the last stage',
      f'at most {branch.max():.3f}; mean {first:.3f} in the first stage, {last:.3f} in the last',
      branch.max() < 1 and last < first,
    ),
    _small(results, 'scaled_ws', 'with scaled weight standardization'),
    _small(results, 'he_without_relu', 'without weight standardization and without ReLU'),
  ]


def _small(results: Results, name: str, words: str) -> Check:
  share = curve(results[name], 'squared_mean') / curve(results[name], 'variance')
  return Check(
    f'{words} it is at most 5 % of the variance, at every block',
    f'at most {share.max():.2%}',
    share.max() <= 0.05,
  )


def _cells(depths: tuple[int, ...], width: int, size: int) -> dict[str, Stack]:
  he = Stack(
    order='free', kernels='normal', factor=2.0, depths=depths, width=width, size=size
  )  # fmt: skip
  return {
    'he': he,
    'scaled_ws': dataclasses.replace(he, kernels='standardized'),
    'he_without_relu': dataclasses.replace(he, factor=1.0, activation='identity'),
  }


CLAIM = Claim(
  name='mean_shift',
  title='Without weight standardization the means of the channels outgrow the variance',
  paper=SIGNAL,
  where='Figure 2',
  says=(
    "In a normalizer-free network with He's initialization the squared mean of the channels grows "
    'fast and exceeds the variance, and the branches fall below variance 1. Scaled weight '
    'standardization prevents it, and so does leaving out ReLU.'
  ),
  rule=(
    "With He's kernels and beta the squared mean of the last block exceeds its variance; the "
    'variance of all branches is below 1, and lower in the last stage than in the first; with '
    'scaled weight standardization, and with ReLU left out, the squared mean is at most 5 % of the '
    'variance at every block.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.SECONDS, cells=_cells((8, 8, 8), 128, 8)),
    Scale.GPU: Setting(cost=Cost.GPU, cells=_cells((50, 50, 50, 50), 256, 16)),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
