"""Through how many residual branches the signal of a deep normalized network goes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from nfnets.claims import styles
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import SKIPINIT

_SHORT = 15  # branches
_LONGEST = 60  # branches; what is longer has a share below 1e-20


class Cell(NamedTuple):
  """A network whose branches all have variance 1, so that the skip has variance i behind i."""

  blocks: int
  sampled: int = 0
  """Paths to draw; 0 for the exact distribution."""
  seed: int = 0


def measure(cell: Cell, source: Source) -> Measured:
  """The share of the output's variance in the paths through 0, 1, 2, ... branches."""
  del source
  shares = _sampled(cell) if cell.sampled else _exact(cell.blocks)
  return {'shares': shares, 'sampled': cell.sampled}


def _exact(blocks: int) -> np.ndarray:
  """Block i has 1 / i of the variance behind it: a sum of independent yes and no."""
  shares = np.zeros(_LONGEST)
  shares[0] = 1.0
  for i in range(1, blocks + 1):
    shares[1:] = shares[1:] * (1 - 1 / i) + shares[:-1] / i
    shares[0] *= 1 - 1 / i
  return shares


def _sampled(cell: Cell) -> np.ndarray:
  rng = np.random.default_rng(cell.seed)
  lengths = np.zeros(cell.sampled, np.int64)
  for i in range(1, cell.blocks + 1):
    lengths += rng.random(cell.sampled, np.float32) < 1 / i
  return np.bincount(lengths, minlength=_LONGEST) / cell.sampled


def _short(measured: Measured) -> float:
  return float(np.sum(measured['shares'][: _SHORT + 1]))


def judge(results: Results) -> Sequence[Check]:
  """The share that the paper quotes, by both ways."""
  exact, drawn = results['exact_10000'], results['sampled_10000']
  share, sampled = _short(exact), _short(drawn)
  error = math.sqrt(share * (1 - share) / drawn['sampled'])
  mean = float(np.dot(np.arange(_LONGEST), exact['shares']))
  return [
    Check(
      'the share of at most 15 of 10,000 branches, summed exactly, rounds to 0.97',
      f'{share:.4f}',
      round(share, 2) == 0.97,
    ),
    Check(
      'drawn paths agree with it within four standard errors',
      f'{sampled:.4f} of {drawn["sampled"]:,}, standard error {error:.4f}',
      abs(sampled - share) < 4 * error,
    ),
    Check('the mean path goes through fewer than 10 branches', f'{mean:.2f}', mean < 10),
  ]


def draw(figure: Figure, results: Results) -> None:
  """The distributions for networks of several depths."""
  axes: Any = figure.subplots()
  exact = {name: found for name, found in results.items() if not found['sampled']}
  for (name, found), colour in zip(exact.items(), styles.COLOURS, strict=False):
    blocks = int(name.removeprefix('exact_'))
    axes.plot(found['shares'][:31], color=colour, label=f'{blocks:,} blocks', linewidth=1.5)
  axes.plot(
    results['sampled_10000']['shares'][:31],
    color='black', marker='o', markersize=3, linewidth=0, label='10,000 blocks, drawn',
  )  # fmt: skip
  axes.axvline(_SHORT + 0.5, color='grey', linewidth=1, linestyle=(0, (4, 3)))
  styles.finish(axes, x='residual branches on the path', y='share of the variance')
  axes.legend(frameon=False)


CLAIM = Claim(
  name='path_lengths',
  title='The signal of a network of 10,000 blocks takes paths of at most 15',
  paper=SKIPINIT,
  where='Figure 3',
  says=(
    'With batch normalization the i-th branch contributes 1/i of the variance. In a network of '
    '10,000 residual blocks, 97 % of the variance comes from paths through at most 15 branches.'
  ),
  rule=(
    'The share of paths of at most 15 branches rounds to 0.97, summed exactly; paths drawn as in '
    'the paper agree within four standard errors; the mean path has fewer than 10 branches.'
  ),
  settings={
    Scale.CPU: Setting(
      cost=Cost.SECONDS,
      cells={f'exact_{blocks}': Cell(blocks) for blocks in (10, 100, 1000, 10_000)}
      | {'sampled_10000': Cell(10_000, sampled=50_000)},
    )
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
