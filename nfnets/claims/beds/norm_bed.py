"""The test bed of the claims about batch normalization: Wide ResNets, trained alike."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfnets import batchnorm
from nfnets.augment.normalize import normalize
from nfnets.claims.beds.images import Images, load_images
from nfnets.claims.beds.network import Network
from nfnets.claims.beds.recipe import Recipe
from nfnets.claims.beds.training import Trained, evaluate, train
from nfnets.claims.claim import Source
from nfnets.models.variants import VARIANTS
from nfnets.models.zoo import Model

_KEPT_NETWORKS = 8
EVALUATED_BATCH = 512  # a power of two: groups of examples divide it

Pass = Callable[[Any, Any, jax.Array], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bed:
  """A network and how it is trained; all that figures depend on."""

  dataset: str
  recipe: Recipe
  pooled: int = 1
  """See `load_images`."""
  family: str = 'wide_resnet'
  """With `_16_4`, a network of the zoo; it may be made smaller."""
  depths: tuple[int, ...] = (2, 2, 2)
  widths: tuple[int, ...] = (64, 128, 256)
  strides: tuple[int, ...] = (1, 2, 2)
  stem_channels: int = 16

  def images(self, source: Source) -> Images:
    """What it is trained and scored on."""
    return load_images(source, self.dataset, pooled=self.pooled)

  def model(self, images: Images) -> Model:
    """The network."""
    name = f'{self.family}_16_4'
    variant = dataclasses.replace(
      VARIANTS[name],
      depths=self.depths,
      widths=self.widths,
      strides=self.strides,
      stem_channels=self.stem_channels,
      train_size=images.train.images.shape[1],
      test_size=images.train.images.shape[1],
    )
    return Model(name, variant, images.dataset.num_classes, images.train.images.shape[-1])


SMALL = Bed(
  dataset='fashion_mnist',
  pooled=2,
  depths=(2, 2),
  widths=(16, 32),
  strides=(2, 2),
  stem_channels=8,
  recipe=Recipe(batch_size=128, steps=300, learning_rate=0.1, warmup_steps=20, weight_decay=5e-4),
)
"""For a CPU: a minute of training; images of 14 x 14 pixels."""

LARGE = Bed(
  dataset='cifar10',
  recipe=Recipe(
    batch_size=512,
    steps=1500,
    learning_rate=0.4,
    warmup_steps=100,
    weight_decay=5e-4,
    padding=4,
    flip=True,
  ),
)
"""For a GPU: a Wide ResNet-16-4 on CIFAR-10, 15 epochs."""


@dataclasses.dataclass(frozen=True)
class Ghost:
  """A network in which every `size` examples are normalized by themselves while training."""

  network: Network
  size: int

  def init(self, rng: jax.Array) -> tuple[Any, Any]:
    """See `Network`."""
    return self.network.init(rng)

  def apply(
    self, params: Any, state: Any, rng: jax.Array | None, images: jax.Array, *, is_training: bool
  ) -> tuple[dict[str, jax.Array], Any]:
    """See `Network`."""
    apply = batchnorm.ghost(self.network.apply, self.size)
    return apply(params, state, rng, images, is_training=is_training)


@dataclasses.dataclass(frozen=True)
class ByBatch:
  """A network that is evaluated by the statistics of every `size` examples; None for all."""

  network: Network
  size: int | None = None

  def init(self, rng: jax.Array) -> tuple[Any, Any]:
    """See `Network`."""
    return self.network.init(rng)

  def apply(
    self, params: Any, state: Any, rng: jax.Array | None, images: jax.Array, *, is_training: bool
  ) -> tuple[dict[str, jax.Array], Any]:
    """See `Network`."""
    apply = batchnorm.batch_statistics(self.network.apply, self.size)
    return apply(params, state, rng, images, is_training=is_training)


_kept: collections.OrderedDict[tuple[Network, Bed, Path], Trained] = collections.OrderedDict()


def trained(network: Network, bed: Bed, source: Source) -> Trained:
  """`network`, trained as `bed` says; several claims ask for the same."""
  key = network, bed, source.data_dir
  if key not in _kept:
    _kept[key] = train(network, bed.images(source), bed.recipe, tell=source.tell)
    while len(_kept) > _KEPT_NETWORKS:
      _kept.popitem(last=False)
  return _kept[key]


def accuracy(network: Network, params: Any, state: Any, images: Images) -> float:
  """On the test images, in percent."""
  score = evaluate(network, params, state, images, images.test, batch_size=evaluated_batch(images))
  return 100 * score.accuracy


def evaluated_batch(images: Images) -> int:
  """How many test images are evaluated at once: so many that groups divide them."""
  return min(EVALUATED_BATCH, 2 ** int(np.log2(len(images.test.labels))))


@functools.lru_cache(maxsize=32)
def training_pass(network: Network) -> Pass:
  """What PreciseBN measures; the same object for the same network, which is compiled once."""

  def forward(params: Any, state: Any, x: jax.Array) -> tuple[Any, Any]:
    return network.apply(params, state, None, x, is_training=True)

  return forward


def training_batches(
  images: Images, count: int, batch_size: int, seed: int = 0
) -> Iterator[jax.Array]:
  """`count` training images at random, none twice, normalized, in batches; or all there are."""
  everything = len(images.train.labels)
  places = np.random.default_rng(seed).permutation(everything)[:count]
  for first in range(0, len(places), batch_size):
    yield normalized(images, images.train.images[places[first : first + batch_size]])


def normalized(images: Images, pixels: np.ndarray) -> jax.Array:
  """[N, H, W, C] uint8 as the network is fed, float32."""
  return normalize(jnp.asarray(pixels), images.mean, images.std, jnp.float32)


def population_state(
  network: Network, params: Any, state: Any, images: Images, *, count: int, seed: int = 0
) -> Any:
  """The state with the statistics of `count` training images, by PreciseBN."""
  batches = training_batches(images, count, evaluated_batch(images), seed)
  return batchnorm.precise_statistics(training_pass(network), params, state, batches)
