"""Training small networks on images in memory: the test bed of the claims."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nfnets.augment.normalize import normalize
from nfnets.claims.images import Images, Split
from nfnets.optim.agc import Norm
from nfnets.optim.groups import CLIPPED_GROUPS, Group
from nfnets.optim.optimizers import sgd_agc
from nfnets.optim.schedules import warmup_cosine
from nfnets.training.losses import cross_entropy, in_top

_LOOK_EVERY = 20  # steps between two looks at whether the loss is still finite


class Network(Protocol):
  """What can be trained: hashable, equal where it is the same function.  A `Model` is one."""

  def init(self, rng: jax.Array) -> tuple[Any, Any]:
    """Fresh parameters and state."""
    ...

  def apply(
    self, params: Any, state: Any, rng: jax.Array | None, images: jax.Array, *, is_training: bool
  ) -> tuple[dict[str, jax.Array], Any]:
    """Outputs, 'logits' [N, classes] among them, and the new state."""
    ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """How a network is trained: SGD with Nesterov momentum, and what the papers add to it."""

  batch_size: int
  steps: int
  learning_rate: float
  """At its peak; half a cosine leads from there to 0."""
  seed: int = 0
  """Of the parameters, of the order of the images and of all that is random in a step."""
  warmup_steps: int = 0
  constant_rate: bool = False
  """Whether the rate stays at its peak after the warm-up."""
  momentum: float = 0.9
  weight_decay: float = 0.0
  clipping: float | None = None
  """Of AGC; None for none."""
  clip_norm: Norm = 'unit'
  clip_groups: tuple[Group, ...] = CLIPPED_GROUPS
  label_smoothing: float = 0.0
  padding: int = 0
  """Images are cut out of a frame of so many zeros."""
  flip: bool = False
  """Whether half of the images are mirrored."""


class Trained(NamedTuple):
  """What training made."""

  params: Any
  state: Any
  losses: np.ndarray
  """[steps] float32, before each step; shorter where it stopped because a loss was not finite."""
  accuracies: np.ndarray
  """[steps] float32, of each batch as it was trained on."""

  @property
  def diverged(self) -> bool:
    """Whether a loss was not finite."""
    return not np.isfinite(self.losses).all()


class Score(NamedTuple):
  """Means over a split."""

  loss: float
  accuracy: float


Watch = Callable[[int, Any, Any], None]
"""(steps taken, params, state), after a step."""


def train(
  network: Network,
  images: Images,
  recipe: Recipe,
  *,
  tell: Callable[[int, int], None],
  order: Callable[[int], np.ndarray] | None = None,
  start: tuple[Any, Any] | None = None,
  watch: Watch | None = None,
  watch_at: Sequence[int] = (),
) -> Trained:
  """Trains on `images.train`; ends early where the loss is not finite any more.

  Args:
    network: it is compiled once for all recipes that differ in rate, steps and seed alone.
    images: with their mean and deviation.
    recipe: see there.
    tell: (steps done, steps in all).
    order: step -> [batch_size], which images it takes; by default every image once in an epoch, in
      an order that the seed shuffles.
    start: parameters and state to begin with; fresh ones by default.
    watch: is called after the steps `watch_at`; what it is given may not be kept.
    watch_at: numbers of steps taken.
  """
  params, state = network.init(jax.random.key(recipe.seed)) if start is None else start
  params, state = jax.tree.map(jnp.copy, (params, state))  # they are donated
  fixed = dataclasses.replace(recipe, learning_rate=1.0, steps=1, warmup_steps=0, seed=0)
  opt_state = _optimizer(fixed).init(params)
  rate = _schedule(recipe)
  order = order or shuffled(len(images.train.labels), recipe.batch_size, recipe.seed)
  split = jax.device_put(images.train)
  key = jax.random.key(recipe.seed)
  found = []
  for step in range(recipe.steps):
    carry, measured = _step(
      network,
      fixed,
      (images.mean, images.std),
      (params, state, opt_state),
      split,
      (order(step), jax.random.fold_in(key, step), rate(step)),
    )
    params, state, opt_state = carry
    found.append(measured)
    if (step + 1) in watch_at and watch is not None:
      watch(step + 1, params, state)
    if (step + 1) % _LOOK_EVERY == 0:
      tell(step + 1, recipe.steps)
      if not np.isfinite(measured[0]):
        break
  losses, accuracies = np.asarray(jax.device_get(found), np.float32).T
  return Trained(params, state, losses, accuracies)


def shuffled(examples: int, batch_size: int, seed: int) -> Callable[[int], np.ndarray]:
  """step -> the images of its batch: every one once in an epoch; what is left over is not taken."""
  per_epoch = max(1, examples // batch_size)

  @functools.lru_cache(maxsize=1)
  def places(epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(examples)

  def order(step: int) -> np.ndarray:
    epoch, number = divmod(step, per_epoch)
    return places(epoch)[number * batch_size :][:batch_size]

  return order


def evaluate(
  network: Network, params: Any, state: Any, images: Images, split: Split, *, batch_size: int = 500
) -> Score:
  """Scores a network in evaluation; images that do not fill a batch at the end are left out."""
  total = np.zeros(2)
  batches = max(1, len(split.labels) // batch_size)
  for batch in range(batches):
    part = slice(batch * batch_size, (batch + 1) * batch_size)
    pixels, labels = split.images[part], split.labels[part]
    total += np.asarray(
      _score(network, (images.mean, images.std), params, state, pixels, labels), np.float64
    )
  loss, accuracy = total / batches
  return Score(float(loss), float(accuracy))


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
  return sgd_agc(
    recipe.learning_rate,
    momentum=recipe.momentum,
    weight_decay=recipe.weight_decay,
    clipping=recipe.clipping,
    clip_norm=recipe.clip_norm,
    clip_groups=recipe.clip_groups,
  )


def _schedule(recipe: Recipe) -> Callable[[int], float]:
  """The learning rate of each step; the first is not 0."""
  if recipe.constant_rate:
    return lambda step: recipe.learning_rate * min(1.0, (step + 1) / (recipe.warmup_steps + 1))
  schedule = warmup_cosine(
    recipe.learning_rate, warmup_steps=recipe.warmup_steps, total_steps=recipe.steps + 1
  )
  return lambda step: float(schedule(step + 1 if recipe.warmup_steps else step))


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _step(
  network: Network,
  recipe: Recipe,
  moments: tuple[tuple[float, ...], tuple[float, ...]],
  carry: tuple[Any, Any, Any],
  split: Split,
  given: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[tuple[Any, Any, Any], tuple[jax.Array, jax.Array]]:
  params, state, opt_state = carry
  places, key, rate = given
  for_images, for_network = jax.random.split(key)
  pixels = _distort(split.images[places], recipe, for_images)
  x = normalize(pixels, *moments, jnp.float32)
  labels = split.labels[places]

  def loss_of(params: Any) -> tuple[jax.Array, Any]:
    outputs, new_state = network.apply(params, state, for_network, x, is_training=True)
    logits = outputs['logits']
    loss = jnp.mean(cross_entropy(logits, labels, recipe.label_smoothing))
    return loss, (new_state, jnp.mean(in_top(logits, labels, 1)))

  (loss, (state, accuracy)), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
  updates, opt_state = _optimizer(recipe).update(gradients, opt_state, params)
  params = optax.apply_updates(params, jax.tree.map(lambda update: rate * update, updates))
  return (params, state, opt_state), (loss, accuracy)


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


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score(
  network: Network,
  moments: tuple[tuple[float, ...], tuple[float, ...]],
  params: Any,
  state: Any,
  pixels: jax.Array,
  labels: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  x = normalize(pixels, *moments, jnp.float32)
  outputs, _ = network.apply(params, state, None, x, is_training=False)
  logits = outputs['logits']
  return jnp.mean(cross_entropy(logits, labels)), jnp.mean(in_top(logits, labels, 1))
