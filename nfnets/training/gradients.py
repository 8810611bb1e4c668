"""The gradient of one step as one device sees it: augmentation, loss, SAM, micro-batches."""

import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nfnets.augment.augment import Augmentation, augment
from nfnets.augment.normalize import normalize
from nfnets.data.datasets import Dataset
from nfnets.errors import InputError
from nfnets.models.zoo import Model
from nfnets.optim.sam import ascend
from nfnets.training.config import Config
from nfnets.training.freezing import NOTHING, frozen_statistics, stop_gradients
from nfnets.training.losses import cross_entropy, in_top

Batch = dict[str, jax.Array]
NO_AUGMENTATION = Augmentation(mixup=None, cutmix=None, layers=0)


class Means(NamedTuple):
  """What is averaged over the examples of a batch."""

  loss: jax.Array
  accuracy: jax.Array
  """Share of the examples whose greatest logit is that of the label with the greatest share."""
  gradients: Any
  """Of the loss, in the structure of the parameters."""


GradientFunction = Callable[[Any, Any, jax.Array, Batch], tuple[Means, Any]]


def make_gradient(
  model: Model,
  dataset: Dataset,
  config: Config,
  *,
  augmentation: Augmentation = NO_AUGMENTATION,
  frozen: Collection[str] = NOTHING,
) -> GradientFunction:
  """`gradient(params, state, rng, batch) -> (means, new state)` over one device's examples.

  Of `config` it reads the precision, label smoothing, SAM and `micro_batch_size`.  What is random
  for an example is a function of `rng` and its position alone.

  Micro-batches are taken one after the other.  Their gradients are averaged in float32, so that the
  step is that of all examples together; statistics of batch normalization are those of each.

  With SAM the gradient is taken at `ascend(params, ...)`, and so are loss and accuracy.  The
  direction comes from the first `sam_share` of the same examples, augmented and dropped alike, on
  this device alone (arXiv 2102.06171, appendix A.4); the network's state is that of this first
  pass, at `params`.

  Raises:
    InputError: when traced, if the examples are not a multiple of the micro-batch.
  """
  rho, share = config.optimizer.sam_rho, config.optimizer.sam_share

  def loss_of(params: Any, state: Any, rng: jax.Array, examples: Batch) -> tuple[jax.Array, Any]:
    with frozen_statistics(frozen):
      outputs, state = model.apply(
        stop_gradients(frozen, params),
        state,
        rng,
        examples['inputs'],
        is_training=True,
        example_ids=examples['positions'],
      )
    targets = examples['targets']
    loss = jnp.mean(cross_entropy(outputs['logits'], targets, config.label_smoothing))
    accuracy = jnp.mean(in_top(outputs['logits'], jnp.argmax(targets, axis=-1), 1))
    return loss, (state, accuracy)

  differentiate = jax.value_and_grad(loss_of, has_aux=True)

  def of_examples(params: Any, state: Any, rng: jax.Array, examples: Batch) -> tuple[Means, Any]:
    (loss, (new_state, accuracy)), gradients = differentiate(params, state, rng, examples)
    return Means(loss, accuracy, gradients), new_state

  def of_piece(params: Any, state: Any, rng: jax.Array, piece: Batch) -> tuple[Means, Any]:
    for_network, for_augmentation = jax.random.split(rng)
    examples = make_examples(
      piece,
      for_augmentation,
      dataset,
      augmentation,
      classes=model.num_classes,
      grey=model.in_channels == 1,
      precision=config.precision,
    )
    if rho is None:
      return of_examples(params, state, for_network, examples)
    some = first_share(examples, share)
    ascent, new_state = of_examples(params, state, for_network, some)
    nearby = ascend(params, ascent.gradients, rho)
    means, _ = of_examples(nearby, state, for_network, examples)
    return means, new_state

  def gradient(params: Any, state: Any, rng: jax.Array, batch: Batch) -> tuple[Means, Any]:
    size = len(batch['positions'])
    micro = min(config.micro_batch_size or size, size)
    if size == micro:
      return of_piece(params, state, rng, batch)
    if size % micro:
      raise InputError(f'micro_batch_size={micro}: the {size} examples of a device are no multiple')
    pieces = cut(batch, size // micro)

    def add(carry: tuple[Means, Any], piece: Batch) -> tuple[tuple[Means, Any], None]:
      total, state = carry
      means, state = of_piece(params, state, rng, piece)
      return (jax.tree.map(jnp.add, total, means), state), None

    shapes, _ = jax.eval_shape(of_piece, params, state, rng, jax.tree.map(lambda x: x[0], pieces))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (total, state), _ = jax.lax.scan(add, (zeros, state), pieces)
    return jax.tree.map(lambda x: x / (size // micro), total), state

  return gradient


def make_examples(
  batch: Batch,
  key: jax.Array,
  dataset: Dataset,
  augmentation: Augmentation,
  *,
  classes: int,
  grey: bool,
  precision: str,
) -> Batch:
  """Augments and normalizes: `inputs` [N, S, S, C], `targets` [N, classes], `positions` [N].

  Args:
    batch: `images` [N, S, S, 3] and `labels` [N], or with K images for an example [N, K, S, S, 3]
      and [N, K]; `positions` [N].
    key: of the step.
    dataset: whose mean and deviation images are normalized by.
    augmentation: what is done to the images before that.
    classes: how many the network knows.
    grey: whether the network takes luminance.
    precision: of the inputs.
  """
  images, labels = batch['images'], batch['labels']
  if labels.ndim == 2:  # `augment` wants all first images, then all second ones
    images, labels = (jnp.concatenate(jnp.unstack(x, axis=1)) for x in (images, labels))
  if augmentation.mixes or augmentation.layers:
    images, targets = augment(
      images, labels, key, batch['positions'], classes=classes, config=augmentation
    )
  else:
    targets = jax.nn.one_hot(labels, classes)
  inputs = normalize(images, dataset.mean, dataset.std, precision, grey=grey)
  return {'inputs': inputs, 'targets': targets, 'positions': batch['positions']}


def first_share(examples: Batch, share: float) -> Batch:
  """The first `share` of the examples, rounded up."""
  size = len(examples['positions'])
  count = math.ceil(round(share * size, 6))  # 0.1 * 30 is a little more than 3
  return {name: x[:count] for name, x in examples.items()}


def cut(batch: Batch, pieces: int) -> Batch:
  """[N, ...] -> [pieces, N / pieces, ...]."""
  return {name: x.reshape(pieces, -1, *x.shape[1:]) for name, x in batch.items()}
