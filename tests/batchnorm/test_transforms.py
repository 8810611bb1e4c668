"""Other statistics in evaluation and in training, and other decays."""

import functools

import haiku as hk
import jax
import numpy as np
import pytest
from batchnorm.norm_networks import IMAGES, KINDS, assert_close, descend, haikus, make, run

from nfnets import batchnorm
from nfnets.errors import InputError


@pytest.fixture(params=KINDS)
def network(request):
  return KINDS[request.param]()


def test_frozen_training_is_evaluation_with_gradients(network):
  frozen = batchnorm.frozen(network.apply)
  found = run(frozen, network, IMAGES)
  wanted = run(network.apply, network, IMAGES, False)
  assert_close(found, wanted)
  assert_close(found[1], network.state, rtol=0, atol=0)
  _, gradients = descend(frozen, network, IMAGES)
  for path in ('first', 'second'):
    assert all(np.abs(x).max() > 1e-4 for x in gradients[path].values())


def test_evaluation_by_the_statistics_of_the_batch_at_hand(network):
  by_batch = batchnorm.batch_statistics(network.apply)
  found, state = run(by_batch, network, IMAGES, False)
  wanted, trained = run(network.apply, network, IMAGES)
  assert_close(found, wanted)
  assert_close(state, network.state, rtol=0, atol=0)
  assert_close(run(by_batch, network, IMAGES), (wanted, trained))


def test_evaluation_by_the_statistics_of_groups(network):
  by_groups = batchnorm.batch_statistics(network.apply, 4)
  found, _ = run(by_groups, network, IMAGES, False)
  ghost = batchnorm.ghost(network.apply, 4)
  wanted, _ = run(ghost, network, IMAGES)
  assert_close(found, wanted)


@pytest.mark.parametrize('decay', [0.0, 0.3])
def test_another_decay(network, decay):
  """Over two batches from a state that has seen none, corrected for its start."""
  apply = batchnorm.with_decay(network.apply, decay)
  last = batchnorm.with_decay(network.apply, 0)
  now, seen = network._replace(state=batchnorm.reset_averages(network.state)), []
  for images in (IMAGES[:4], IMAGES[4:]):
    outputs, state = run(apply, now, images)
    assert_close(outputs, run(network.apply, now, images)[0])
    seen.append(batchnorm.read_averages(run(last, network, images)[1]))
    now = now._replace(state=state)
  wanted = jax.tree.map(
    lambda a, b: (1 - decay) * (decay * a + b) / (1 - decay**2), seen[0], seen[1]
  )
  assert_close(batchnorm.read_averages(now.state), wanted)


def test_a_decay_of_0_leaves_the_moments_of_the_batch():
  network = make(lambda x, t: hk.BatchNorm(True, True, 0.9, name='norm')(x, t))
  _, state = run(batchnorm.with_decay(network.apply, 0), network, IMAGES)
  mean, variance = batchnorm.read_averages(state)['norm']
  np.testing.assert_allclose(mean.ravel(), IMAGES.mean((0, 1, 2)), rtol=1e-5)
  np.testing.assert_allclose(variance.ravel(), IMAGES.var((0, 1, 2)), rtol=1e-4)


def test_only_averages_of_batch_normalization_change_their_decay():
  def function(x, is_training):
    y = hk.BatchNorm(True, True, 0.9)(x, is_training)
    hk.ExponentialMovingAverage(0.5, zero_debias=False, name='other')(x.mean())
    return y

  network = make(function)
  apply = batchnorm.with_decay(network.apply, 0)
  _, found = run(apply, network, IMAGES)
  _, wanted = run(network.apply, network, IMAGES)
  assert_close(found['other'], wanted['other'], rtol=0, atol=0)


def test_transforms_nest():
  """Ghost statistics in training, remembered alone; those of groups in evaluation."""
  network = KINDS['ours']()
  apply = batchnorm.with_decay(batchnorm.ghost(network.apply, 3), 0)
  both = batchnorm.batch_statistics(apply, 6)
  trained, state = run(both, network, IMAGES)
  ghost = batchnorm.ghost(batchnorm.with_decay(network.apply, 0), 3)
  wanted, wanted_state = run(ghost, network, IMAGES)
  assert_close((trained, state), (wanted, wanted_state))
  evaluated, _ = run(both, network, IMAGES, False)
  groups = batchnorm.batch_statistics(network.apply, 6)
  assert_close(evaluated, run(groups, network, IMAGES, False)[0])
  outermost = batchnorm.ghost(batchnorm.ghost(network.apply, 3), 6)
  wanted, _ = run(batchnorm.ghost(network.apply, 6), network, IMAGES)
  assert_close(run(outermost, network, IMAGES)[0], wanted)


def test_it_is_compiled_for_itself():
  """With and without, in either order: nothing of one shows in the other."""
  network = KINDS['haiku']()
  plain = jax.jit(network.apply, static_argnums=4)
  first = plain(network.params, network.state, None, IMAGES, True)
  ghost = jax.jit(batchnorm.ghost(network.apply, 2), static_argnums=4)
  found, _ = ghost(network.params, network.state, None, IMAGES, True)
  wanted, _ = run(batchnorm.ghost(network.apply, 2), network, IMAGES)
  assert_close(found, wanted)
  again = plain(network.params, network.state, None, IMAGES, True)
  assert_close(again, first, rtol=0, atol=0)
  assert np.abs(found - first[0]).max() > 0.05


TRANSFORMS = (
  functools.partial(batchnorm.ghost, size=2),
  functools.partial(batchnorm.synced, axis='devices'),
  batchnorm.batch_statistics,
  batchnorm.frozen,
  functools.partial(batchnorm.with_decay, decay=0.5),
)


@pytest.mark.parametrize('transform', TRANSFORMS)
def test_what_is_compiled_already_is_refused(transform):
  with pytest.raises(InputError, match=r'is compiled: transform it first'):
    transform(jax.jit(lambda x: x))


@pytest.mark.parametrize('decay', [-0.1, 1, float('nan')])
def test_a_decay_that_is_none(decay):
  with pytest.raises(InputError, match=r'^decay='):
    batchnorm.with_decay(lambda: None, decay)


def test_initialization_asks_for_everything():
  init = batchnorm.ghost(hk.transform_with_state(haikus).init, 4)
  params, state = jax.eval_shape(lambda x: init(jax.random.key(0), x, True), IMAGES)
  wanted = KINDS['haiku']()
  shapes = functools.partial(jax.tree.map, lambda x: x.shape)
  assert shapes((params, state)) == shapes((wanted.params, wanted.state))


def test_the_parents_call_of_a_subclass():
  class Doubled(hk.BatchNorm):
    def __call__(self, x, is_training):
      return 2 * super().__call__(x, is_training)

  plain = make(lambda x, t: hk.BatchNorm(True, True, 0.9, name='norm')(x, t))
  doubled = make(lambda x, t: Doubled(True, True, 0.9, name='norm')(x, t))
  found, wanted = (run(batchnorm.ghost(one.apply, 3), plain, IMAGES) for one in (doubled, plain))
  assert_close(found, (2 * wanted[0], wanted[1]))


def test_bfloat16_keeps_the_dtypes_of_a_state():
  images = IMAGES.astype(jax.numpy.bfloat16)
  network = make(lambda x, t: hk.BatchNorm(True, True, 0.9)(x.astype(images.dtype), t))
  outputs, state = run(batchnorm.ghost(network.apply, 4), network, images)
  wanted = run(network.apply, network, images)
  dtypes = functools.partial(jax.tree.map, lambda x: x.dtype)
  assert dtypes((outputs, state)) == dtypes(wanted)
