"""The variances of a deep linear residual network with batch normalization."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

from nfnets.claims.beds.pictures import draw_curves
from nfnets.claims.beds.residual_mlp import BLOCK, ResidualMLP
from nfnets.claims.beds.straight_line import fit_line
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import SKIPINIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
  """A network at initialization, fed with standard normal numbers."""

  network: ResidualMLP
  examples: int
  batches: int
  seed: int = 0


_CELL = Statistics(
  network=ResidualMLP(
    scheme='batchnorm', blocks=100, width=256, layers=1, inputs=256, activation='identity'
  ),
  examples=1000,
  batches=20,
)


def measure(cell: Statistics, source: Source) -> Measured:
  """Variances at every block: of shortcut and branch, and the moving one of the normalization."""
  first, images = jax.random.split(jax.random.key(cell.seed))
  params, state = cell.network.init(first)
  flow_of = jax.jit(cell.network.flow)
  skip, branch = [], []
  for batch in range(cell.batches):
    key = jax.random.fold_in(images, batch)
    flow, state = flow_of(
      params, state, jax.random.normal(key, (cell.examples, cell.network.inputs))
    )
    skip.append(np.asarray(flow.skip_variance))
    branch.append(np.asarray(flow.branch_variance))
    source.tell(batch + 1, cell.batches)
  moving = np.asarray(state[f'{BLOCK}/~/norm0']['variance']).mean(1)
  return {'skip': np.mean(skip, 0), 'branch': np.mean(branch, 0), 'moving': moving}


def judge(results: Results) -> Sequence[Check]:
  """A line of slope 1, ones, and the same line."""
  (found,) = results.values()
  skip, branch, moving = (np.asarray(found[name]) for name in ('skip', 'branch', 'moving'))
  line = fit_line(np.arange(1, len(skip) + 1), skip)
  apart = float(np.max(np.abs(moving / skip - 1)))
  return [
    Check(
      'variance of the shortcut over the number of the block: slope within 5% of 1',
      f'{line.slope:.3f}, {line.explained:.2%} of its variance explained',
      abs(line.slope - 1) <= 0.05,
    ),
    Check(
      'variance of every branch within 10% of 1',
      f'{branch.min():.3f} to {branch.max():.3f}',
      bool(np.all(np.abs(branch - 1) <= 0.1)),
    ),
    Check(
      'moving variance of every normalization within 5% of the variance of its shortcut',
      f'at most {apart:.1%} apart',
      apart <= 0.05,
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """The three curves."""
  (found,) = results.values()
  blocks = list(range(1, len(found['skip']) + 1))
  names = {
    'skip': 'shortcut, before the block',
    'moving': 'moving variance of its normalization',
    'branch': 'end of the branch',
  }
  curves = {words: (blocks, found[name]) for name, words in names.items()}
  draw_curves(figure.subplots(), curves, x='residual block', y='variance, mean over channels')


CLAIM = Claim(
  name='deep_linear_statistics',
  title='BatchNorm makes the shortcut grow by 1 a block',
  paper=SKIPINIT,
  where='Figure 4a',
  says='In a deep linear residual network with BatchNorm the variance of the shortcut in front of '
  'block i is i, that at the end of every branch is 1, and the moving variance of its '
  'normalization is i: the branch is divided by the square root of i.',
  rule='The slope of the variance of the shortcut is 1 within 5%, the variance of every branch 1 '
  'within 10%, and every moving variance that of the shortcut within 5%.',
  settings={Scale.CPU: Setting(cost=Cost.SECONDS, cells={'100 linear blocks': _CELL})},
  measure=measure,
  judge=judge,
  draw=draw,
)
