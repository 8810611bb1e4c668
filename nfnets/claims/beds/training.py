"""Training small networks on images in memory: the test bed of the claims."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nfnets.augment.normalize import normalize
from nfnets.claims.beds.gradients import Means, Pixels, step_gradient
from nfnets.claims.beds.images import Images, Split
from nfnets.claims.beds.network import Network
from nfnets.claims.beds.recipe import Recipe, Scales, make_optimizer, scales_of
from nfnets.training.losses import cross_entropy, in_top

_LOOK_EVERY = 20  # steps between two looks at whether the loss is still finite


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
  fixed = recipe.unscaled()
  opt_state = make_optimizer(fixed).init(params)
  pixels = Pixels(images.mean, images.std, images.dataset.num_classes)
  scales = scales_of(recipe)
  order = order or shuffled(len(images.train.labels), recipe.batch_size, recipe.seed)
  split = jax.device_put(images.train)
  key = jax.random.key(recipe.seed)
  found = []
  for step in range(recipe.steps):
    carry, measured = _step(
      network,
      fixed,
      pixels,
      (params, state, opt_state),
      split,
      (order(step), jax.random.fold_in(key, step), scales(step)),
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


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _step(
  network: Network,
  fixed: Recipe,
  pixels: Pixels,
  carry: tuple[Any, Any, Any],
  split: Split,
  given: tuple[jax.Array, jax.Array, Scales],
) -> tuple[tuple[Any, Any, Any], Means]:
  params, state, opt_state = carry
  places, key, scales = given
  recipe = scales.put_into(fixed)
  means, state, gradients = step_gradient(
    network, recipe, pixels, params, state, split=split, places=places, key=key
  )
  updates, opt_state = make_optimizer(recipe).update(gradients, opt_state, params)
  return (optax.apply_updates(params, updates), state, opt_state), means


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
