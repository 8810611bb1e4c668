"""Examples in a random order over devices and ghost batches, and back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from batchnorm.norm_networks import IMAGES, KINDS, assert_close, run

from nfnets import batchnorm

AXIS = 'devices'
KEY = jax.random.key(5)


def mapped(function):
  return jax.pmap(function, axis_name=AXIS, devices=jax.devices()[:2])


def test_over_devices_it_is_a_permutation_that_is_undone():
  x = jnp.arange(24.0).reshape(2, 6, 2)
  shuffled = mapped(lambda part: batchnorm.shuffle(part, KEY, axis=AXIS))(x)
  rows = np.asarray(shuffled).reshape(12, 2)
  assert sorted(map(tuple, rows)) == sorted(map(tuple, np.asarray(x).reshape(12, 2)))
  assert set(rows[:6, 0]) != set(np.asarray(x)[0, :, 0])
  back = mapped(lambda part: batchnorm.unshuffle(part, KEY, axis=AXIS))(shuffled)
  np.testing.assert_array_equal(back, x)


def test_on_one_device_it_is_the_same_order():
  x = jnp.arange(24.0).reshape(12, 2)
  shuffled = batchnorm.shuffle(x, KEY)
  over_devices = mapped(lambda part: batchnorm.shuffle(part, KEY, axis=AXIS))(x.reshape(2, 6, 2))
  np.testing.assert_array_equal(shuffled, over_devices.reshape(12, 2))
  np.testing.assert_array_equal(batchnorm.unshuffle(shuffled, KEY), x)


def test_gradients_find_their_way_back():
  """Each device's loss counts an example by a weight of its own; so must the gradient."""
  x = jnp.arange(12.0).reshape(2, 6)
  weights = jnp.arange(12.0).reshape(2, 6) ** 2

  def gradient(part, weight):
    def loss(part):
      there = jnp.square(batchnorm.shuffle(part, KEY, axis=AXIS))
      return jnp.sum(weight * batchnorm.unshuffle(there, KEY, axis=AXIS))

    return jax.grad(loss)(part)

  np.testing.assert_allclose(mapped(gradient)(x, weights), 2 * weights * x, rtol=1e-6)


def test_groups_are_made_of_other_examples():
  """What a layer of ghost batch normalization makes of the examples, in their own order."""
  network = KINDS['haiku']()
  ghost = functools.partial(run, batchnorm.ghost(network.apply, 3), network)
  shuffled, _ = ghost(batchnorm.shuffle(IMAGES, KEY))
  found = batchnorm.unshuffle(shuffled, KEY)
  order = np.asarray(jax.random.permutation(KEY, 12))
  wanted = np.empty_like(found)
  wanted[order] = ghost(IMAGES[order])[0]
  assert_close(np.asarray(found), wanted)
  assert np.abs(found - ghost(IMAGES)[0]).max() > 0.05
