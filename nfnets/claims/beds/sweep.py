"""A network trained at several learning rates, of which the best counts."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from nfnets.claims.beds.images import Images, load_images
from nfnets.claims.beds.training import Network, Recipe, evaluate, train
from nfnets.claims.claim import Check, Measured, Source

TRAINS_FROM = 0.5
"""Test accuracy on ten classes from which on a network counts as one that trains."""
FAILS_TO = 0.3
"""That up to which it counts as one that does not; guessing gives 0.1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
  """The cell of such claims."""

  network: Network
  dataset: str
  pooled: int = 1
  """Side of the squares of pixels that are averaged to one."""
  train_images: int | None = None
  """The first so many are trained on; None for all."""
  recipe: Recipe
  """Its learning rate is replaced."""
  rates: tuple[float, ...]


class Best(NamedTuple):
  """The run of a sweep that was best on the test images."""

  rate: float
  accuracy: float
  """0 where every run diverged."""


def sweep(cell: Sweep, source: Source) -> Measured:
  """Trains at every rate.

  Returns:
    `rates`, and for each of them the `accuracies` on the test images, the `training_losses` (means
    over the last twentieth of the steps), both NaN where the loss was not finite any more, and
    after how many `steps` that was noticed.
  """
  images = load_images(source, cell.dataset, pooled=cell.pooled)
  images = images._replace(train=images.train.first(cell.train_images or len(images.train.labels)))
  whole = len(cell.rates) * cell.recipe.steps
  accuracies, losses, steps = [], [], []
  for number, rate in enumerate(cell.rates):
    tell = _shifted(source.tell, number * cell.recipe.steps, whole)
    recipe = dataclasses.replace(cell.recipe, learning_rate=rate)
    accuracy, loss, taken = _run(cell.network, images, recipe, tell)
    accuracies.append(accuracy)
    losses.append(loss)
    steps.append(taken)
  return {
    'rates': list(cell.rates),
    'accuracies': accuracies,
    'training_losses': losses,
    'steps': steps,
  }


def _run(
  network: Network, images: Images, recipe: Recipe, tell: Callable[[int, int], None]
) -> tuple[float, float, int]:
  trained = train(network, images, recipe, tell=tell)
  if trained.diverged:
    return math.nan, math.nan, len(trained.losses)
  last = max(1, recipe.steps // 20)
  score = evaluate(network, trained.params, trained.state, images, images.test)
  return score.accuracy, float(np.mean(trained.losses[-last:])), len(trained.losses)


def _shifted(tell: Callable[[int, int], None], by: int, whole: int) -> Callable[[int, int], None]:
  return lambda done, _: tell(by + done, whole)


def best(measured: Measured) -> Best:
  """The best run of a sweep; a run that diverged has accuracy 0."""
  accuracies = np.nan_to_num(np.asarray(measured['accuracies'], float))
  place = int(np.argmax(accuracies))
  return Best(measured['rates'][place], float(accuracies[place]))


def trains(name: str, measured: Measured) -> Check:
  """Whether the best run trains."""
  found = best(measured)
  return Check(
    f'{name}: test accuracy of {TRAINS_FROM:.0%} or more at the best learning rate',
    _said(measured),
    found.accuracy >= TRAINS_FROM,
  )


def fails(name: str, measured: Measured) -> Check:
  """Whether all runs diverge, or learn next to nothing."""
  found = best(measured)
  return Check(
    f'{name}: test accuracy of {FAILS_TO:.0%} or less at every learning rate',
    _said(measured),
    found.accuracy <= FAILS_TO,
  )


def _said(measured: Measured) -> str:
  found, diverged = best(measured), int(np.isnan(measured['accuracies']).sum())
  runs: Sequence[float] = measured['accuracies']
  if diverged == len(runs):
    return f'all {diverged} runs diverged'
  also = f'; {diverged} of {len(runs)} runs diverged' if diverged else ''
  return f'{found.accuracy:.1%} at rate {found.rate:g}{also}'
