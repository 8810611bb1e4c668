"""The size of the signal behind d branches, by the gain at their end."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

from nfnets.claims.beds.pictures import draw_curves
from nfnets.claims.beds.residual_mlp import ResidualMLP
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import SKIPINIT

_BY_DEPTH, _UNIT = 'gain 1/sqrt(d)', 'gain 1'
_OVERFLOWS_FROM = 200  # blocks; the largest float32 is 2^128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Growth:
  """Networks at initialization, fed with standard normal numbers."""

  network: ResidualMLP
  examples: int = 64
  seeds: tuple[int, ...] = (0, 1, 2, 3)


def _growth(blocks: int, gain: float) -> Growth:
  network = ResidualMLP(scheme='skipinit', blocks=blocks, width=256, inputs=256, skip_gain=gain)
  return Growth(network=network)


def _cells() -> dict[str, Growth]:
  depths = (10, 30, 100, 300, 1000)
  cells = {f'{_BY_DEPTH}, {d} blocks': _growth(d, d**-0.5) for d in depths}
  return cells | {f'{_UNIT}, {d} blocks': _growth(d, 1.0) for d in (10, 30, 100, 300)}


def measure(cell: Growth, source: Source) -> Measured:
  """`growth`: mean square behind the last block over that behind the stem, the mean over seeds."""
  del source
  ratios = []
  for seed in cell.seeds:
    first, images = jax.random.split(jax.random.key(seed))
    params, state = cell.network.init(first)
    x = jax.random.normal(images, (cell.examples, cell.network.inputs))
    flow, _ = jax.jit(cell.network.flow)(params, state, x)
    squares = np.asarray(flow.skip_square, np.float64)
    last = squares[-1] + float(flow.branch_square[-1])  # they do not correlate
    ratios.append(last / squares[0])
  return {
    'blocks': cell.network.blocks,
    'gain': cell.network.skip_gain,
    'growth': float(np.mean(ratios)),
  }


def _of(results: Results, label: str) -> list[Measured]:
  return [measured for cell, measured in results.items() if cell.startswith(f'{label},')]


def judge(results: Results) -> Sequence[Check]:
  """(1 + 1/d)^d with 1/sqrt(d), 2^d with 1: the larger numbers by the rate of their growth."""
  checks = []
  for found in _of(results, _BY_DEPTH):
    d, growth = found['blocks'], found['growth']
    expected = (1 + 1 / d) ** d
    checks.append(
      Check(
        f'{_BY_DEPTH}, {d} blocks: grows by (1 + 1/d)^d = {expected:.3f}, within 10%',
        f'{growth:.3f}',
        abs(growth / expected - 1) <= 0.1,
      )
    )
  for found in _of(results, _UNIT):
    d, growth = found['blocks'], found['growth']
    if d >= _OVERFLOWS_FROM:
      asks, holds = 'is no finite float32 any more', not math.isfinite(growth)
    else:
      asks = 'grows by 2^d: log2 of it within 10% of d'
      holds = math.isfinite(growth) and abs(math.log2(growth) / d - 1) <= 0.1
    said = f'2^{math.log2(growth):.1f}' if math.isfinite(growth) else str(growth)
    checks.append(Check(f'{_UNIT}, {d} blocks: {asks}', said, holds))
  return checks


def draw(figure: Figure, results: Results) -> None:
  """What stays below e, and what doubles."""
  left, right = figure.subplots(1, 2)
  for axes, label in ((left, _BY_DEPTH), (right, _UNIT)):
    found = [one for one in _of(results, label) if math.isfinite(one['growth'])]
    depths = [one['blocks'] for one in found]
    curves = {
      f'measured, {label}': (depths, [one['growth'] for one in found]),
      'derived': (depths, [(1 + one['gain'] ** 2) ** one['blocks'] for one in found]),
    }
    y = 'mean square, last block over stem'
    draw_curves(axes, curves, x='residual blocks d', y=y, log_x=True, log_y=axes is right)
  left.axhline(math.e, color='black', linewidth=1, linestyle=(0, (4, 3)), label='e')
  left.set_ylim(0, 4)
  left.legend(frameon=False, fontsize='small')


CLAIM = Claim(
  name='skipinit_variance',
  title='Gains of 1/sqrt(d) keep the signal below e; gains of 1 double it in every block',
  paper=SKIPINIT,
  where='section 4',
  says='A branch with gain a adds a^2 of the variance of its input.  With a = 1/sqrt(d) the '
  'variance behind d blocks is (1 + 1/d)^d, less than e; with a = 1 it is 2^d.',
  rule='The mean square grows by (1 + 1/d)^d within 10% for 10 to 1000 blocks.  With gain 1, log2 '
  'of its growth is d within 10% up to 100 blocks; at 300 it is no finite float32.',
  settings={Scale.CPU: Setting(cost=Cost.SECONDS, cells=_cells())},
  measure=measure,
  judge=judge,
  draw=draw,
)
