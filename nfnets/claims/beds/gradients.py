"""The gradient of a step of the test bed: what is done to images first, and SAM."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nfnets.augment.augment import augment
from nfnets.augment.normalize import normalize
from nfnets.claims.beds.images import Split
from nfnets.claims.beds.network import Network
from nfnets.claims.beds.recipe import Recipe
from nfnets.optim.sam import ascend
from nfnets.training.losses import cross_entropy, in_top


class Pixels(NamedTuple):
  """What is known of the images of a dataset."""

  mean: tuple[float, ...]
  std: tuple[float, ...]
  classes: int


class Means(NamedTuple):
  """Over a batch, as it was trained on."""

  loss: jax.Array
  accuracy: jax.Array


class _Examples(NamedTuple):
  inputs: jax.Array
  targets: jax.Array
  """[N] classes, or [N, classes] where labels are mixed."""

  def first(self, share: float) -> '_Examples':
    count = math.ceil(round(share * len(self.inputs), 6))
    return _Examples(self.inputs[:count], self.targets[:count])


def step_gradient(
  network: Network,
  recipe: Recipe,
  pixels: Pixels,
  params: Any,
  state: Any,
  *,
  split: Split,
  places: jax.Array,
  key: jax.Array,
) -> tuple[Means, Any, Any]:
  """The means over a batch, the network's new state and the gradients of the loss.

  With SAM (arXiv 2010.01412) they are the gradients at `ascend(params, ...)`; means and state are
  those at `params`, of the examples that the direction comes from.

  Args:
    network: is trained on the loss that `recipe` says.
    recipe: what it says of images, loss and SAM.
    pixels: by whose mean and deviation images are normalized.
    params: of the network.
    state: of the network.
    split: all images there are.
    places: [N] the images of the batch.
    key: of the step.
  """
  for_images, for_network, for_others = jax.random.split(key, 3)

  def differentiate(params: Any, examples: _Examples) -> tuple[Means, Any, Any]:
    def loss_of(params: Any) -> tuple[jax.Array, Any]:
      outputs, new_state = network.apply(
        params, state, for_network, examples.inputs, is_training=True
      )
      logits, targets = outputs['logits'], examples.targets
      loss = jnp.mean(cross_entropy(logits, targets, recipe.label_smoothing))
      labels = targets if targets.ndim == 1 else jnp.argmax(targets, axis=-1)
      return loss, (new_state, jnp.mean(in_top(logits, labels, 1)))

    (loss, (new_state, accuracy)), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
    return Means(loss, accuracy), new_state, gradients

  examples = _examples(recipe, pixels, split, places, for_images)
  if recipe.sam is None:
    return differentiate(params, examples)
  some = examples.first(recipe.sam.share)
  if not recipe.sam.same:
    others = jax.random.randint(for_others, (len(some.inputs),), 0, len(split.labels))
    some = _examples(recipe, pixels, split, others, jax.random.fold_in(for_images, 1))
  means, new_state, ascent = differentiate(params, some)
  _, _, gradients = differentiate(ascend(params, ascent, recipe.sam.rho), examples)
  return means, new_state, gradients


def _examples(
  recipe: Recipe, pixels: Pixels, split: Split, places: jax.Array, key: jax.Array
) -> _Examples:
  """Distorted, augmented and normalized."""
  for_distortion, for_augmentation = jax.random.split(key)
  images, labels = _distort(split.images[places], recipe, for_distortion), split.labels[places]
  if recipe.augmentation.mixes or recipe.augmentation.layers:
    images, labels = _augment(images, labels, recipe, for_augmentation, pixels.classes)
  return _Examples(normalize(images, pixels.mean, pixels.std, jnp.float32), labels)


def _augment(
  images: jax.Array, labels: jax.Array, recipe: Recipe, key: jax.Array, classes: int
) -> tuple[jax.Array, jax.Array]:
  """Bytes [N, H, W, C] to pixels [N, H, W, C] and shares of classes [N, classes]."""
  colours = jnp.broadcast_to(images, (*images.shape[:-1], 3))
  augmented, targets = augment(
    colours,
    labels,
    key,
    jnp.arange(len(images)),
    classes=classes,
    config=recipe.augmentation,
  )
  return augmented[..., : images.shape[-1]], targets


def _distort(images: jax.Array, recipe: Recipe, key: jax.Array) -> jax.Array:
  """Cuts and mirrors [N, H, W, C]."""
  size, padding = images.shape[1], recipe.padding
  if padding:
    framed = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    corners = jax.random.randint(key, (len(images), 2), 0, 2 * padding + 1)

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
      return jax.lax.dynamic_slice(image, (*corner, 0), (size, size, image.shape[-1]))

    images = jax.vmap(cut)(framed, corners)
  if recipe.flip:
    mirrored = jax.random.bernoulli(jax.random.fold_in(key, 1), shape=(len(images), 1, 1, 1))
    images = jnp.where(mirrored, images[:, :, ::-1], images)
  return images
