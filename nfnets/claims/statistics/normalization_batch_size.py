"""The normalization batch size, from two examples to the whole batch."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from nfnets.claims import styles
from nfnets.claims.beds.norm_bed import LARGE, SMALL
from nfnets.claims.beds.normalization_sweep import cells, measure
from nfnets.claims.claim import Check, Claim, Cost, Results, Scale, Setting
from nfnets.claims.papers import BATCHNORM

_TRAINING, _BATCH, _POPULATION = (
  'training, by the batch', 'test, by the batch', 'test, by the population',
)  # fmt: skip


def judge(results: Results) -> Sequence[Check]:
  """The three curves at their ends."""
  sizes = list(results)
  least, largest = sizes[0], sizes[-1]
  population = {size: results[size][_POPULATION] for size in sizes}
  best = min(population, key=population.__getitem__)
  gap = {size: population[size] - results[size][_BATCH] for size in sizes}
  return [
    Check(
      f'population statistics: the error at {least} is at least 5 points above the least of all',
      f'{population[least]:.2f} % at {least}, {population[best]:.2f} % at {best}',
      population[least] >= population[best] + 5,
    ),
    Check(
      'population statistics: the least error is at a size of 8 or more',
      f'at {best}',
      int(best) >= 8,
    ),
    Check(
      f'at {least} population statistics have a larger test error than those of the batch',
      f'{population[least]:.2f} % and {results[least][_BATCH]:.2f} %',
      gap[least] > 0,
    ),
    Check(
      f'at {largest} the two differ by at most 1 point',
      f'{population[largest]:.2f} % and {results[largest][_BATCH]:.2f} %',
      abs(gap[largest]) <= 1,
    ),
    Check(
      f'training error, by the batch: larger at {least} than at {largest}',
      f'{results[least][_TRAINING]:.2f} % and {results[largest][_TRAINING]:.2f} %',
      results[least][_TRAINING] > results[largest][_TRAINING],
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """The three curves."""
  axes = figure.subplots()
  sizes = [int(size) for size in results]
  for key, colour in zip((_TRAINING, _BATCH, _POPULATION), styles.COLOURS, strict=False):
    axes.plot(sizes, [found[key] for found in results.values()], 'o-', color=colour, label=key)
  axes.set_xscale('log', base=2)
  axes.legend(frameon=False)
  styles.finish(axes, x='normalization batch size', y='error, %')


CLAIM = Claim(
  name='normalization_batch_size',
  title='Both very small and very large normalization batches have their price',
  paper=BATCHNORM,
  where='section 4, Figure 4',
  says=(
    'At a fixed batch of SGD, training with statistics of 2 to 4 examples gives poor networks by '
    'population statistics, though decent ones by statistics of the batch; the error by population '
    'statistics is least at middle sizes, and the two agree at large ones.'
  ),
  rule=(
    'By population statistics the error at 2 is at least 5 points above the least of all sizes, '
    'which is at 8 or more; at 2 it is above that by statistics of the batch, at the largest size '
    'within 1 point of it; the training error is larger at 2 than at the largest size.'
  ),
  settings={
    Scale.CPU: Setting(
      cost=Cost.MINUTES, cells=cells(SMALL, (2, 4, 8, 32, 128)), dataset=SMALL.dataset
    ),
    Scale.GPU: Setting(
      cost=Cost.GPU, cells=cells(LARGE, (2, 4, 8, 16, 32, 64, 128, 512)), dataset=LARGE.dataset
    ),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
