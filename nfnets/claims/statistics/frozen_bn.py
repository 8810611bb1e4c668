"""The last fifth of training with frozen batch normalization."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets import batchnorm
from nfnets.claims import styles
from nfnets.claims.beds.network import Network
from nfnets.claims.beds.norm_bed import (
  LARGE,
  SMALL,
  Bed,
  Ghost,
  accuracy,
  population_state,
  trained,
)
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import BATCHNORM


class Cell(NamedTuple):
  """A network trained with statistics of so many examples."""

  bed: Bed
  size: int
  frozen_share: float
  """Of the steps at the end: those with frozen statistics."""
  population_images: int = 8192


@dataclasses.dataclass(frozen=True)
class Freezing:
  """A network whose batch normalization is frozen from a step on; its state counts them."""

  network: Network
  from_step: int

  def init(self, rng: jax.Array) -> tuple[Any, Any]:
    """See `Network`; the state is (steps, that of the network)."""
    params, state = self.network.init(rng)
    return params, (jnp.zeros((), jnp.int32), state)

  def apply(
    self, params: Any, state: Any, rng: jax.Array | None, images: jax.Array, *, is_training: bool
  ) -> tuple[dict[str, jax.Array], Any]:
    """See `Network`."""
    steps, inner = state
    apply = self.network.apply
    if not is_training:
      return apply(params, inner, rng, images, is_training=False)[0], state
    early, late = (
      lambda p, s, one=one: one(p, s, rng, images, is_training=True)
      for one in (apply, batchnorm.frozen(apply))
    )
    outputs, inner = jax.lax.cond(steps < self.from_step, early, late, params, inner)
    return outputs, (steps + 1, inner)


def measure(cell: Cell, source: Source) -> Measured:
  """The test error by population statistics: the frozen ones, or by PreciseBN."""
  images = cell.bed.images(source)
  model = cell.bed.model(images)
  from_step = round((1 - cell.frozen_share) * cell.bed.recipe.steps)
  network = Ghost(model, cell.size)
  if cell.frozen_share:
    made = trained(Freezing(network, from_step), cell.bed, source)
    _, state = made.state
  else:  # without the choice in every step, which takes four times as long on a CPU
    made = trained(network, cell.bed, source)
    state = population_state(model, made.params, made.state, images, count=cell.population_images)
  return {
    'error': 100 - accuracy(model, made.params, state, images),
    'training_errors': 100 * (1 - _smooth(made.accuracies)),
    'from_step': from_step,
  }


def _smooth(values: np.ndarray, over: int = 10) -> np.ndarray:
  """Means of so many in a row."""
  return values[: len(values) // over * over].reshape(-1, over).mean(1)


def judge(results: Results) -> Sequence[Check]:
  """It rescues the smallest, and does no harm to the others."""
  errors = {name: found['error'] for name, found in results.items()}
  return [
    Check(
      'trained with 2 examples: at least 3 points less error with the last fifth frozen',
      f'{errors["2"]:.2f} %, frozen {errors["2, frozen"]:.2f} %',
      errors['2, frozen'] <= errors['2'] - 3,
    ),
    Check(
      'trained with 32: within 1 point',
      f'{errors["32"]:.2f} %, frozen {errors["32, frozen"]:.2f} %',
      abs(errors['32, frozen'] - errors['32']) <= 1,
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """Errors of training, and of the test at the end."""
  left, right = figure.subplots(1, 2, width_ratios=(2, 1))
  for (name, found), colour in zip(results.items(), styles.COLOURS, strict=False):
    steps = 10 * np.arange(1, 1 + len(found['training_errors']))
    left.plot(steps, found['training_errors'], color=colour, label=name)
    right.bar(name, found['error'], color=colour)
  left.axvline(results['2, frozen']['from_step'], color='grey', linewidth=1, linestyle=(0, (4, 3)))
  left.legend(frameon=False, title='normalization batch size')
  right.tick_params(axis='x', rotation=30)
  styles.finish(left, x='step', y='training error, %')
  styles.finish(right, x='', y='test error by the population, %')


def _cells(bed: Bed) -> Mapping[str, Cell]:
  return {
    f'{size}, frozen' if share else f'{size}': Cell(bed, size, share)
    for size in (2, 32)
    for share in (0.0, 0.2)
  }


CLAIM = Claim(
  name='frozen_bn',
  title='Frozen statistics at the end of training rescue small normalization batches',
  paper=BATCHNORM,
  where='section 4, Figure 5',
  says=(
    'Training the last fifth with population statistics, as inference will use them, lets a '
    'network that was trained with very small normalization batches adapt to them.'
  ),
  rule=(
    'Trained with statistics of 2 examples, the test error by population statistics is at least 3 '
    'points lower if the last fifth of the steps is frozen; trained with 32, within 1 point.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.MINUTES, cells=_cells(SMALL), dataset=SMALL.dataset),
    Scale.GPU: Setting(cost=Cost.GPU, cells=_cells(LARGE), dataset=LARGE.dataset),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
