"""Larger batches need smaller clipping factors."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from nfnets.claims.beds.pictures import draw_curves
from nfnets.claims.beds.runs import Run, accuracy, measure_run
from nfnets.claims.beds.sizes import CPU, GPU, Bed
from nfnets.claims.claim import Check, Claim, Cost, Results, Scale, Setting
from nfnets.claims.papers import NFNETS

_NEAR = 3.0  # points below the best clipping of a batch size: still stable


def _cells(bed: Bed, batches: Sequence[int], clippings: Sequence[float]) -> dict[str, Run]:
  return {
    f'batch {batch} clipping {clipping:g}': bed.run(bed.nf, batch, clipping=clipping)
    for batch in batches
    for clipping in clippings
  }


def _grid(results: Results) -> dict[int, dict[float, float]]:
  """batch size -> clipping -> accuracy."""
  grid: dict[int, dict[float, float]] = {}
  for cell in results:
    _, batch, _, clipping = cell.split()
    grid.setdefault(int(batch), {})[float(clipping)] = accuracy(results, cell)
  return dict(sorted(grid.items()))


def _largest_stable(row: dict[float, float]) -> float:
  return max(clipping for clipping, got in row.items() if got >= max(row.values()) - _NEAR)


def _judge(results: Results) -> list[Check]:
  grid = _grid(results)
  largest = [_largest_stable(row) for row in grid.values()]
  best = [max(row, key=lambda clipping, row=row: row[clipping]) for row in grid.values()]

  def told(clippings: list[float]) -> str:
    return ', '.join(f'{c:g} at {batch}' for batch, c in zip(grid, clippings, strict=True))

  return [
    Check(
      f'the largest clipping within {_NEAR:g} points of the best is smaller for the largest batch '
      'than for the smallest, and never grows',
      told(largest),
      largest[-1] < largest[0] and largest == sorted(largest, reverse=True),
    ),
    Check(
      'the best clipping is smaller for the largest batch than for the smallest',
      told(best),
      best[-1] < best[0],
    ),
  ]


def _draw(figure: Figure, results: Results) -> None:
  curves = {
    f'batch {batch}': (sorted(row), [row[clipping] for clipping in sorted(row)])
    for batch, row in _grid(results).items()
  }
  draw_curves(figure.subplots(), curves, x='clipping factor', y='test accuracy in %', log_x=True)


CLAIM = Claim(
  name='agc_clipping_factor',
  title='Larger batches need smaller clipping factors',
  paper=NFNETS,
  where='Figures 2b and 7',
  says='With growing batch size AGC has to clip more: the best clipping factor falls.',
  rule=(
    'The largest clipping factor that comes within 3 points of the best of its batch size is '
    'smaller for the largest batch than for the smallest and never grows in between; so is the '
    'best one.'
  ),
  settings={
    Scale.CPU: Setting(
      cost=Cost.MINUTES,
      cells=_cells(CPU, (32, 128, 256), (0.02, 0.08, 0.32, 1.28)),
      dataset='fashion_mnist',
    ),
    Scale.GPU: Setting(
      cost=Cost.GPU,
      cells=_cells(GPU, (256, 1024, 4096), (0.01, 0.02, 0.04, 0.08, 0.16, 0.64)),
      dataset='cifar10',
    ),
  },
  measure=measure_run,
  judge=_judge,
  draw=_draw,
)
