"""A Wide ResNet trained once: the cell that most claims on training are made of."""

import dataclasses
from collections.abc import Callable, Mapping

from nfnets.claims.beds.images import Images, load_images
from nfnets.claims.beds.training import Recipe, Trained, evaluate, train
from nfnets.claims.claim import Measured, Source
from nfnets.models.variants import find_variant
from nfnets.models.zoo import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Net:
  """A network of the zoo; where a field is None, as its row has it."""

  row: str
  depths: tuple[int, ...] | None = None
  widths: tuple[int, ...] | None = None
  strides: tuple[int, ...] | None = None
  skip_gain: float | None = None
  """Of those that have one.  Short runs start at 1: from the 0 of the papers AGC lets the branches
  grow by about clipping * eps * rate / (1 - momentum) in a step at most."""
  drop_rate: float = 0.0
  stochdepth_rate: float = 0.0

  def model(self, num_classes: int, in_channels: int) -> Model:
    """The network for images of `in_channels` channels."""
    changes = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
    row = changes.pop('row')
    variant = dataclasses.replace(find_variant(row), **changes)
    return Model(row, variant, num_classes, in_channels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """What its figures depend on."""

  dataset: str
  net: Net
  recipe: Recipe
  pooled: int = 1
  """See `load_images`."""
  examples: int | None = None
  """The first so many images are trained on; None for all."""

  def images(self, source: Source) -> Images:
    """What it is trained and tested on."""
    images = load_images(source, self.dataset, pooled=self.pooled)
    return images._replace(train=images.train.first(self.examples or len(images.train.labels)))

  def model(self, images: Images) -> Model:
    """The network for these images."""
    return self.net.model(images.dataset.num_classes, images.train.images.shape[-1])


def measure_run(run: Run, source: Source) -> Measured:
  """What became of it: see `score_run`."""
  images = run.images(source)
  model = run.model(images)
  trained = train(model, images, run.recipe, tell=source.tell)
  return score_run(model, images, trained)


def score_run(model: Model, images: Images, trained: Trained, *, count: int = 10_000) -> Measured:
  """Loss and accuracy in evaluation, on test images and on (the first of the) training images."""
  of_test = evaluate(model, trained.params, trained.state, images, images.test)
  seen = images.train.first(min(count, len(images.test.labels)))
  of_train = evaluate(model, trained.params, trained.state, images, seen)
  return {
    'test_loss': of_test.loss,
    'test_accuracy': of_test.accuracy,
    'train_loss': of_train.loss,
    'train_accuracy': of_train.accuracy,
    'diverged': trained.diverged,
    'steps': len(trained.losses),
  }


def accuracy(results: Mapping[str, Measured], cell: str) -> float:
  """On the test images, in percent; what diverged gets none right."""
  found = results[cell]
  return 0.0 if found['diverged'] else 100 * found['test_accuracy']


def gap(results: Mapping[str, Measured], cell: str) -> float:
  """Training accuracy less test accuracy, in points."""
  found = results[cell]
  return 100 * (found['train_accuracy'] - found['test_accuracy'])


def over_seeds(value: Callable[[str], float], cell: str, seeds: range) -> list[float]:
  """The values of the cells 'NAME seed S'."""
  return [value(f'{cell} seed {seed}') for seed in seeds]
