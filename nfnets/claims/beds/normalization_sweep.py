"""What the claims about the normalization batch size measure: three errors for each size."""

from collections.abc import Mapping
from typing import NamedTuple

from nfnets.claims.beds.norm_bed import (
  Bed,
  ByBatch,
  Ghost,
  accuracy,
  evaluated_batch,
  population_state,
  trained,
)
from nfnets.claims.beds.training import evaluate
from nfnets.claims.claim import Measured, Source


class Cell(NamedTuple):
  """A network trained with statistics of so many examples."""

  bed: Bed
  size: int
  population_images: int = 8192


def measure(cell: Cell, source: Source) -> Measured:
  """Errors in percent: of training, and of the test by the batch and by the population."""
  images = cell.bed.images(source)
  model = cell.bed.model(images)
  network = Ghost(model, cell.size)
  params, state = trained(network, cell.bed, source)[:2]
  by_batch = ByBatch(model, cell.size)
  batch = evaluated_batch(images)
  training = evaluate(
    by_batch, params, state, images, images.train.first(cell.population_images), batch_size=batch
  )
  population = population_state(model, params, state, images, count=cell.population_images)
  return {
    'training, by the batch': 100 * (1 - training.accuracy),
    'test, by the batch': 100 - accuracy(by_batch, params, state, images),
    'test, by the population': 100 - accuracy(model, params, population, images),
    'test, by moving averages': 100 - accuracy(model, params, state, images),
  }


def cells(bed: Bed, sizes: tuple[int, ...]) -> Mapping[str, Cell]:
  """A cell for each size, named by it."""
  return {f'{size}': Cell(bed, size) for size in sizes}
