"""Moving averages against PreciseBN while a network is trained."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets import batchnorm
from nfnets.claims import styles
from nfnets.claims.beds.network import Network
from nfnets.claims.beds.norm_bed import LARGE, SMALL, Bed, population_state
from nfnets.claims.beds.training import evaluate, train
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import BATCHNORM


class Cell(NamedTuple):
  """A run that is looked at now and then."""

  bed: Bed
  decays: tuple[float, ...] = (0.0, 0.9, 0.99, 0.999)
  looks: int = 20
  population_images: int = 2048
  test_images: int = 2000


@dataclasses.dataclass(frozen=True)
class Following:
  """A network whose state holds moving averages of several decays: (steps, one for each)."""

  network: Network
  decays: tuple[float, ...]

  def init(self, rng: jax.Array) -> tuple[Any, Any]:
    """See `Network`."""
    params, state = self.network.init(rng)
    return params, (jnp.zeros((), jnp.int32), (state,) * len(self.decays))

  def apply(
    self, params: Any, state: Any, rng: jax.Array | None, images: jax.Array, *, is_training: bool
  ) -> tuple[dict[str, jax.Array], Any]:
    """See `Network`; for training alone."""
    steps, states = state
    last = batchnorm.with_decay(self.network.apply, 0.0)
    outputs, batch_state = last(params, states[0], rng, images, is_training=is_training)
    mixed = tuple(
      batchnorm.mix_averages(one, batch_state, _corrected(decay, steps))
      for one, decay in zip(states, self.decays, strict=True)
    )
    return outputs, (steps + 1, mixed)


def _corrected(decay: float, steps: jax.Array) -> jax.Array:
  """The decay behind so many steps that leaves nothing of the first value."""
  return decay * (1 - decay**steps) / (1 - decay ** (steps + 1))


def measure(cell: Cell, source: Source) -> Measured:
  """Test errors at every look: of PreciseBN and of the moving averages."""
  images = cell.bed.images(source)
  model = cell.bed.model(images)
  steps = cell.bed.recipe.steps
  looks = [round(steps * (look + 1) / cell.looks) for look in range(cell.looks)]
  error = functools.partial(_error, model, images, cell.test_images)
  found: dict[str, list[float]] = {'precise': [], **{f'{one}': [] for one in cell.decays}}

  def look(step: int, params: Any, state: Any) -> None:
    del step
    _, states = state
    precise = population_state(model, params, states[0], images, count=cell.population_images)
    for name, one in zip(found, (precise, *states), strict=True):
      found[name].append(error(params, one))

  network = Following(model, cell.decays)
  train(network, images, cell.bed.recipe, tell=source.tell, watch=look, watch_at=looks)
  return {'steps': looks, **found}


def _error(model: Network, images: Any, count: int, params: Any, state: Any) -> float:
  split = images.test.first(count)
  score = evaluate(model, params, state, images, split, batch_size=min(500, len(split.labels)))
  return 100 * (1 - score.accuracy)


def judge(results: Results) -> Sequence[Check]:
  """The first half of the run of large batches; then decays in the run of small ones."""
  large, small = results['large batches'], results['small batches']
  half = len(large['steps']) // 2
  average, precise = (np.asarray(large[name]) for name in ('0.9', 'precise'))
  excess = (average - precise)[:half].mean()
  rough = [np.abs(np.diff(curve[:half])).mean() for curve in (average, precise)]
  middle = {
    name: np.mean(small[name][len(small['steps']) // 4 : -1])
    for name in small
    if name not in ('steps', 'precise')
  }
  names = list(middle)
  best = min(middle, key=middle.__getitem__)
  return [
    Check(
      'large batches, first half: moving averages (0.9) err 2 points more than PreciseBN, or above',
      f'{excess:.2f} points more on average',
      excess >= 2,
    ),
    Check(
      'there, their error changes at least 1.5 times as much from look to look',
      f'by {rough[0]:.2f} and {rough[1]:.2f} points',
      rough[0] >= 1.5 * rough[1],
    ),
    Check(
      'at the end the two are within 1 point',
      f'{average[-1]:.2f} % and {precise[-1]:.2f} %',
      abs(average[-1] - precise[-1]) <= 1,
    ),
    Check(
      f'small batches: {names[0]} and {names[-1]} both err at least 1 point more than the best',
      ', '.join(f'{name}: {error:.2f} %' for name, error in middle.items()),
      min(middle[names[0]], middle[names[-1]]) >= middle[best] + 1,
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """The errors of both runs."""
  for axes, (name, found) in zip(
    figure.subplots(1, len(results), sharey=True), results.items(), strict=True
  ):
    for (way, errors), colour in zip(
      [pair for pair in found.items() if pair[0] != 'steps'], ('black', *styles.COLOURS),
      strict=False,
    ):  # fmt: skip
      label = 'PreciseBN' if way == 'precise' else f'decay {way}'
      axes.plot(found['steps'], errors, color=colour, label=label)
    axes.legend(frameon=False)
    styles.finish(axes, x='step', y='test error, %', title=name)


def _of_batches(bed: Bed, batch_size: int, steps: int, rate: float, warmup: int) -> Bed:
  recipe = dataclasses.replace(
    bed.recipe, batch_size=batch_size, steps=steps, learning_rate=rate, warmup_steps=warmup
  )
  return dataclasses.replace(bed, recipe=recipe)


def _setting(cost: Cost, small: Bed, large: Bed) -> Setting[Cell]:
  cells: Mapping[str, Cell] = {'large batches': Cell(large), 'small batches': Cell(small)}
  return Setting(cost=cost, cells=cells, dataset=large.dataset)


CLAIM = Claim(
  name='ema_large_batch',
  title='With large batches moving averages lag behind; PreciseBN does not',
  paper=BATCHNORM,
  where='section 3, Figure 2',
  says=(
    'Moving averages mix statistics of networks of many steps. With large batches there are few '
    'steps and they are long, so that validation is erratic for the first part of training, while '
    'that of PreciseBN is stable; in the end the two agree. A decay too near to 1 is outdated, one '
    'too near to 0 sees too few examples.'
  ),
  rule=(
    'With large batches, in the first half of the run: errors by moving averages of decay 0.9 are '
    'at least 2 points above those of PreciseBN on average, and change at least 1.5 times as much '
    'between looks; at the end they are within 1 point. With small batches, between the first '
    'quarter and the end, decays of 0 and 0.999 both err at least 1 point more than the best.'
  ),
  settings={
    Scale.CPU: _setting(
      Cost.MINUTES,
      _of_batches(SMALL, 16, 600, 0.05, 20),
      _of_batches(SMALL, 1024, 60, 0.8, 5),
    ),
    Scale.GPU: _setting(
      Cost.GPU,
      _of_batches(LARGE, 32, 4000, 0.05, 100),
      _of_batches(LARGE, 4096, 180, 3.2, 20),
    ),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
