"""Ghost batches of few classes: what leaks into their statistics, and what stops it."""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from nfnets import batchnorm
from nfnets.claims import styles
from nfnets.claims.beds.images import Split
from nfnets.claims.beds.network import Network
from nfnets.claims.beds.norm_bed import LARGE, SMALL, Bed, Ghost, accuracy, population_state
from nfnets.claims.beds.training import train
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import BATCHNORM


class Way(enum.StrEnum):
  """Which examples are normalized together."""

  RANDOM = 'random groups'
  LEAKY = 'groups of 2 classes'
  SHUFFLED = 'groups of 2 classes, shuffled'
  SYNCED = 'groups of 2 classes, synced'


class Cell(NamedTuple):
  """A run whose batches are made of such groups."""

  bed: Bed
  way: Way
  group: int = 32
  classes: int = 2
  """In a group, as many examples of each."""
  population_images: int = 8192
  last_steps: int = 50
  """Over which the training accuracy is averaged."""


@dataclasses.dataclass(frozen=True)
class Shuffled:
  """A network that is fed the examples of a batch in a random order while training."""

  network: Network

  def init(self, rng: jax.Array) -> tuple[Any, Any]:
    """See `Network`."""
    return self.network.init(rng)

  def apply(
    self, params: Any, state: Any, rng: jax.Array | None, images: jax.Array, *, is_training: bool
  ) -> tuple[dict[str, jax.Array], Any]:
    """See `Network`."""
    if not is_training or rng is None:
      return self.network.apply(params, state, rng, images, is_training=is_training)
    key = jax.random.fold_in(rng, 0)
    mixed = batchnorm.shuffle(images, key)
    outputs, state = self.network.apply(params, state, rng, mixed, is_training=True)
    return {name: batchnorm.unshuffle(y, key) for name, y in outputs.items()}, state


def measure(cell: Cell, source: Source) -> Measured:
  """Accuracies: of training, by the statistics of its groups; of the test, by the population's."""
  images = cell.bed.images(source)
  model = cell.bed.model(images)
  grouped = Ghost(model, cell.group)
  networks: dict[Way, Network] = {
    Way.RANDOM: grouped,
    Way.LEAKY: grouped,
    Way.SHUFFLED: Shuffled(grouped),
    Way.SYNCED: model,
  }
  recipe = cell.bed.recipe
  order = None if cell.way is Way.RANDOM else _by_class(cell, images.train)
  made = train(networks[cell.way], images, recipe, tell=source.tell, order=order)
  population = population_state(
    model, made.params, made.state, images, count=cell.population_images
  )
  return {
    'training': 100 * float(made.accuracies[-cell.last_steps :].mean()),
    'test': accuracy(model, made.params, population, images),
  }


def _by_class(cell: Cell, split: Split) -> Callable[[int], np.ndarray]:
  """step -> [batch_size]: groups in a row, each of few classes; all classes equally often."""
  recipe = cell.bed.recipe
  places = [np.flatnonzero(split.labels == label) for label in range(split.labels.max() + 1)]
  of_each = cell.group // cell.classes

  def order(step: int) -> np.ndarray:
    rng = np.random.default_rng((recipe.seed, step))
    rounds = recipe.batch_size // (of_each * len(places))
    labels = np.concatenate([rng.permutation(len(places)) for _ in range(rounds)])
    return np.concatenate([rng.choice(places[label], of_each) for label in labels])

  return order


def judge(results: Results) -> Sequence[Check]:
  """Training accuracies that are not there in the test."""
  training = {way: results[way]['training'] for way in Way}
  test = {way: results[way]['test'] for way in Way}
  leaky, random = Way.LEAKY, Way.RANDOM
  return [
    Check(
      'groups of 2 classes: the training accuracy is at least 20 points above that of the test',
      f'{training[leaky]:.2f} % and {test[leaky]:.2f} %',
      training[leaky] >= test[leaky] + 20,
    ),
    Check(
      'the training accuracy is above that of random groups',
      f'{training[leaky]:.2f} % and {training[random]:.2f} %',
      training[leaky] > training[random],
    ),
    *(
      Check(
        f'{way}: the test accuracy is at least 15 points higher, within 3 points of random groups',
        f'{test[way]:.2f} %; {test[leaky]:.2f} % and {test[random]:.2f} %',
        test[way] >= test[leaky] + 15 and abs(test[way] - test[random]) <= 3,
      )
      for way in (Way.SHUFFLED, Way.SYNCED)
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """Pairs of bars."""
  axes = figure.subplots()
  places = np.arange(len(results))
  for shift, key, colour in (
    (-0.2, 'training', styles.COLOURS[1]),
    (0.2, 'test', styles.COLOURS[0]),
  ):
    axes.bar(
      places + shift, [found[key] for found in results.values()], 0.36, color=colour, label=key
    )
  axes.set_xticks(places, [name.replace(', ', ',\n') for name in results])
  axes.legend(frameon=False, loc='upper left', bbox_to_anchor=(1, 1))
  styles.finish(axes, x='normalized together', y='accuracy, %')


def _setting(cost: Cost, bed: Bed, batch_size: int) -> Setting[Cell]:
  # So many that every class fills as many halves of groups.
  recipe = dataclasses.replace(bed.recipe, batch_size=batch_size)
  bed = dataclasses.replace(bed, recipe=recipe)
  cells = {f'{way}': Cell(bed, way) for way in Way}
  return Setting(cost=cost, cells=cells, dataset=bed.dataset)


CLAIM = Claim(
  name='leakage',
  title='What leaks through the statistics of a batch does not generalize',
  paper=BATCHNORM,
  where='section 6, Figures 8 and 9, Table 6',
  says=(
    'If the examples of a normalization batch are alike, the network learns to read from its '
    'statistics what it should read from the example: it trains well, and fails with population '
    'statistics. Statistics over all devices, or shuffling the examples over them, stop it.'
  ),
  rule=(
    'With groups of 32 examples of 2 classes, the training accuracy is at least 20 points above '
    'the test accuracy by population statistics, and above that with random groups; with the same '
    'batches shuffled over the groups, or normalized as a whole, the test accuracy is at least 15 '
    'points higher, and within 3 points of that with random groups.'
  ),
  settings={
    Scale.CPU: _setting(Cost.MINUTES, SMALL, 160),
    Scale.GPU: _setting(Cost.GPU, LARGE, 480),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
