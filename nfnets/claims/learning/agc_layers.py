"""Which layers to clip: all but the classifier."""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure

from nfnets.claims.beds.pictures import draw_values
from nfnets.claims.beds.runs import Run, accuracy, measure_run
from nfnets.claims.beds.sizes import CPU, GPU, Bed
from nfnets.claims.claim import Check, Claim, Cost, Results, Scale, Setting
from nfnets.claims.papers import NFNETS
from nfnets.models.variants import find_variant
from nfnets.optim.depths import stage_places
from nfnets.optim.groups import GROUPS

_PAPER, _ALL, _NO_STEM = 'all but classifier', 'all', 'stem unclipped'
_SEEDS = range(2)
_STAGE = 'stage {} unclipped'
_BETTER = 0.5  # points
_NEAR = 2.0  # points


def _cells(bed: Bed, batch: int, clipping: float) -> dict[str, Run]:
  depths = bed.nf.depths or find_variant(bed.nf.row).depths
  cells = {}
  for seed in _SEEDS:
    run = bed.run(bed.nf, batch, clipping=clipping, seed=seed)

    def but(places: Sequence[str], run: Run = run) -> Run:
      recipe = dataclasses.replace(run.recipe, unclipped=tuple(places))
      return dataclasses.replace(run, recipe=recipe)

    cells[f'{_PAPER} seed {seed}'] = run
    cells[f'{_ALL} seed {seed}'] = dataclasses.replace(
      run, recipe=dataclasses.replace(run.recipe, clip_groups=GROUPS)
    )
    cells[f'{_NO_STEM} seed {seed}'] = but(['stem'])
    for stage in range(len(depths)):
      cells[f'{_STAGE.format(stage)} seed {seed}'] = but(sorted(stage_places(stage, depths)))
  return cells


def _by_choice(results: Results) -> dict[str, list[float]]:
  """What is clipped -> accuracies of all seeds."""
  found: dict[str, list[float]] = {}
  for cell in results:
    found.setdefault(cell.rsplit(' seed ')[0], []).append(accuracy(results, cell))
  return found


def _judge(results: Results) -> list[Check]:
  mean = {choice: sum(found) / len(found) for choice, found in _by_choice(results).items()}
  stages = {choice: found for choice, found in mean.items() if choice.startswith('stage')}
  paper = mean[_PAPER]
  return [
    Check(
      f'to clip the classifier too gains less than {_BETTER:g} points',
      f'{mean[_ALL] - paper:+.1f} points',
      mean[_ALL] - paper < _BETTER,
    ),
    Check(
      f'to leave the stem unclipped costs at most {_NEAR:g} points',
      f'{mean[_NO_STEM] - paper:+.1f} points',
      paper - mean[_NO_STEM] <= _NEAR,
    ),
    Check(
      f'to leave any stage unclipped costs more than {_NEAR:g} points',
      ', '.join(f'{choice}: {found - paper:+.1f}' for choice, found in stages.items()),
      all(paper - found > _NEAR for found in stages.values()),
    ),
  ]


def _draw(figure: Figure, results: Results) -> None:
  values = {choice.replace(' ', '\n'): found for choice, found in _by_choice(results).items()}
  draw_values(figure.subplots(), values, y='test accuracy in %')


CLAIM = Claim(
  name='agc_layers',
  title='Which layers to clip: all but the classifier',
  paper=NFNETS,
  where='section 4.1',
  says=(
    'At a large batch it is better not to clip the last linear layer; the first convolution may be '
    'left unclipped; all stages must be clipped for training to be stable.'
  ),
  rule=(
    'Means over two seeds at a large batch: clipping the classifier too gains less than half a '
    'point; leaving the stem unclipped costs at most 2 points; leaving any one stage unclipped '
    'costs more than 2.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.MINUTES, cells=_cells(CPU, 256, 0.02), dataset='fashion_mnist'),
    Scale.GPU: Setting(cost=Cost.GPU, cells=_cells(GPU, 4096, 0.01), dataset='cifar10'),
  },
  measure=measure_run,
  judge=_judge,
  draw=_draw,
)
