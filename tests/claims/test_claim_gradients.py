"""The gradient of the test bed: SAM and augmentation against what they are defined as."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.augment.augment import Augmentation
from nfnets.claims.beds.gradients import Pixels, step_gradient
from nfnets.claims.beds.images import Split
from nfnets.claims.beds.recipe import Recipe, Sam, make_optimizer
from nfnets.optim import ascend

PIXELS = Pixels(mean=(100.0,), std=(50.0,), classes=3)
RECIPE = Recipe(batch_size=10, steps=1, learning_rate=0.1)
PLACES = np.arange(10)
KEY = jax.random.key(0)


class Line:
  """A linear classifier."""

  def apply(self, params, state, rng, images, *, is_training):
    return {'logits': images.reshape(len(images), -1) @ params['net/~/linear']['w']}, state


@pytest.fixture(scope='module')
def split():
  rng = np.random.default_rng(0)
  return Split(rng.integers(0, 256, (40, 4, 4, 1)).astype(np.uint8), rng.integers(0, 3, 40))


@pytest.fixture(scope='module')
def params():
  w = np.random.default_rng(1).standard_normal((16, 3)).astype(np.float32)
  return {'net/~/linear': {'w': jnp.asarray(0.3 * w)}}


def gradient(recipe, params, split, places=PLACES):
  images = jax.tree.map(jnp.asarray, split)
  means, _, gradients = step_gradient(
    Line(), recipe, PIXELS, params, {}, split=images, places=places, key=KEY
  )
  return means, gradients['net/~/linear']['w']


def with_sam(*fields):
  return dataclasses.replace(RECIPE, sam=Sam(*fields))


@pytest.mark.parametrize(('share', 'count'), [(1.0, 10), (0.2, 2)])
def test_sam_takes_the_gradient_uphill_of_the_first_examples(params, split, share, count):
  means, direction = gradient(RECIPE, params, split, PLACES[:count])
  nearby = ascend(params, {'net/~/linear': {'w': direction}}, 0.5)
  _, wanted = gradient(RECIPE, nearby, split)
  found, got = gradient(with_sam(0.5, share), params, split)
  np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found, means, rtol=1e-6)


def test_another_batch_is_another_direction_of_the_same_length(params, split):
  same, other = (gradient(with_sam(0.5, 0.2, whose), params, split)[1] for whose in (True, False))
  assert np.abs(same - other).max() > 0.01
  _, wanted = gradient(RECIPE, params, split)
  _, nearly = gradient(with_sam(1e-6, 0.2, False), params, split)
  np.testing.assert_allclose(nearly, wanted, rtol=1e-3, atol=1e-5)


def test_mixed_images_have_mixed_labels_and_keep_their_channels(params, split):
  """The gradient is linear in what is mixed: labels of one class tell that their shares count."""
  mixup = Augmentation(mixup=1.0, cutmix=None, distinct=False, layers=0)
  recipe = dataclasses.replace(RECIPE, augmentation=mixup)
  flat = split._replace(images=np.full_like(split.images, 150))
  _, plain = gradient(RECIPE, params, flat)
  _, mixed = gradient(recipe, params, flat)
  assert mixed.shape == plain.shape
  assert np.abs(mixed - plain).max() > 1e-3
  alike = flat._replace(labels=np.ones_like(split.labels))
  _, plain = gradient(RECIPE, params, alike)
  _, mixed = gradient(recipe, params, alike)
  np.testing.assert_allclose(mixed, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_randaugment_changes_grey_images(params, split):
  layers = Augmentation(mixup=None, cutmix=None, layers=2, magnitude=5.0, distinct=False)
  _, plain = gradient(RECIPE, params, split)
  _, changed = gradient(dataclasses.replace(RECIPE, augmentation=layers), params, split)
  assert np.abs(changed - plain).max() > 1e-2


def test_the_largest_norm_is_that_of_all_gradients_together():
  recipe = dataclasses.replace(RECIPE, max_norm=1.0, momentum=0.0)
  params = {'a/~/conv': {'w': jnp.zeros((2, 2))}, 'b/~/conv': {'w': jnp.zeros((2, 2))}}
  gradients = jax.tree.map(lambda x: x + 3.0, params)  # of the norm 3 * sqrt(8)
  optimizer = make_optimizer(recipe)
  updates, _ = optimizer.update(gradients, optimizer.init(params), params)
  norm = np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(updates)))
  assert norm == pytest.approx(0.1, rel=1e-5)
