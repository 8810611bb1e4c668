"""The test bed of the claims: it trains, repeats itself and ends where nothing is finite."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from nfnets.claims.beds.images import load_images
from nfnets.claims.beds.training import Recipe, evaluate, shuffled, train
from nfnets.claims.claim import Source

RECIPE = Recipe(batch_size=64, steps=60, learning_rate=0.5, warmup_steps=5, clipping=0.1)


@dataclasses.dataclass(frozen=True)
class Line:
  """A linear classifier."""

  def init(self, rng):
    return {'linear': {'w': 0.01 * jax.random.normal(rng, (64, 10)), 'b': np.zeros(10)}}, {}

  def apply(self, params, state, rng, images, *, is_training):
    flat = images.reshape(len(images), -1)
    return {'logits': flat @ params['linear']['w'] + params['linear']['b']}, state


@pytest.fixture(scope='module')
def images(digits):
  return load_images(Source(digits, ignore), 'digits')


def ignore(done, total):
  pass


def test_a_network_learns_and_the_same_recipe_repeats_it(images):
  first, second = (train(Line(), images, RECIPE, tell=ignore) for _ in range(2))
  other = train(Line(), images, dataclasses.replace(RECIPE, seed=1), tell=ignore)
  np.testing.assert_array_equal(first.losses, second.losses)
  assert first.losses[0] != other.losses[0]
  assert not first.diverged
  assert evaluate(Line(), first.params, {}, images, images.test, batch_size=100).accuracy > 0.85


def test_one_step_is_that_of_sgd(images):
  recipe = Recipe(batch_size=8, steps=1, learning_rate=0.1, weight_decay=0.01)
  start = Line().init(jax.random.key(3))
  places = np.arange(8)
  trained = train(Line(), images, recipe, tell=ignore, order=lambda step: places, start=start)

  def loss(params):
    x = (images.train.images[places] - images.mean[0]) / images.std[0]
    logits = Line().apply(params, {}, None, x, is_training=True)[0]['logits']
    return optax.softmax_cross_entropy_with_integer_labels(
      logits, images.train.labels[places]
    ).mean()

  value, gradients = jax.value_and_grad(loss)(start[0])
  w, g = start[0]['linear']['w'], gradients['linear']['w']
  # Nesterov's first step is 1 + momentum long; only kernels decay.
  np.testing.assert_allclose(
    trained.params['linear']['w'], w - 0.1 * 1.9 * (g + 0.01 * w), rtol=1e-5, atol=1e-7
  )
  np.testing.assert_allclose(trained.losses[0], value, rtol=1e-5)


def test_it_ends_where_the_loss_is_not_finite(images):
  recipe = Recipe(batch_size=64, steps=100, learning_rate=1e38, constant_rate=True)
  told = []
  trained = train(Line(), images, recipe, tell=lambda done, total: told.append(done))
  assert trained.diverged
  assert len(trained.losses) == 20
  assert told == [20]


def test_who_watches_is_called_after_the_steps_asked_for(images):
  seen = []
  recipe = dataclasses.replace(RECIPE, steps=10, padding=1, flip=True)
  train(
    Line(), images, recipe, tell=ignore, watch_at=(3, 10),
    watch=lambda step, params, state: seen.append((step, float(params['linear']['w'][0, 0]))),
  )  # fmt: skip
  assert [step for step, _ in seen] == [3, 10]


def test_every_image_comes_once_in_an_epoch():
  order = shuffled(10, 5, seed=0)
  epochs = [np.concatenate([order(step), order(step + 1)]) for step in (0, 2)]
  assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
  assert epochs[0].tolist() != epochs[1].tolist()
