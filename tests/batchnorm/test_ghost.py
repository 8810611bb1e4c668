"""Ghost batch normalization is as many small batches."""

import dataclasses
import functools

import haiku as hk
import jax
import numpy as np
import pytest
from batchnorm.norm_networks import IMAGES, KINDS, assert_close, descend, make, run
from micro import batchnorm_model

from nfnets import batchnorm
from nfnets.batchnorm.moments import averaged, of_batch, of_groups
from nfnets.errors import InputError
from nfnets.models.execution import Execution
from nfnets.models.zoo import Model


@pytest.fixture(params=KINDS)
def network(request):
  return KINDS[request.param]()


def test_outputs_gradients_and_averages_are_those_of_the_groups(network):
  size = 4
  ghost = batchnorm.ghost(network.apply, size)
  (value, (state, outputs)), gradients = descend(ghost, network, IMAGES)
  groups = IMAGES.reshape(-1, size, *IMAGES.shape[1:])
  each = jax.vmap(lambda x: descend(network.apply, network, x))(groups)
  (values, (states, alone)), all_gradients = jax.device_get(each)
  assert_close(outputs, alone.reshape(-1, 3))
  mean = lambda tree: jax.tree.map(lambda x: x.mean(0), tree)  # noqa: E731
  assert_close((value, state, gradients), mean((values, states, all_gradients)))


def test_groups_differ_from_the_whole_batch():
  network = KINDS['haiku']()
  whole, _ = run(network.apply, network, IMAGES)
  groups, _ = run(batchnorm.ghost(network.apply, 2), network, IMAGES)
  assert np.abs(whole - groups).max() > 0.05


def test_evaluation_stays_as_it_is(network):
  ghost = batchnorm.ghost(network.apply, 5)
  assert_close(run(ghost, network, IMAGES, False), run(network.apply, network, IMAGES, False))


def test_a_network_of_the_zoo_in_a_loop():
  """Blocks in `lax.scan` take the same statistics, and keep them."""
  row = batchnorm_model().variant
  variant = dataclasses.replace(row, depths=(3, 1))
  models = [Model('deep', variant, 10, 3, Execution(scan_from=n)) for n in (2, None)]
  params, state = models[0].init(jax.random.key(0))
  looped, unrolled = (
    jax.jit(functools.partial(batchnorm.ghost(model.apply, 4), is_training=True))(
      params, state, None, IMAGES
    )
    for model in models
  )
  assert_close(looped, unrolled)
  averages = batchnorm.read_averages(looped[1])
  assert len(averages) == 9
  assert all(np.abs(moments.mean).max() > 0 for moments in averages.values())


FORMATS = {
  'channels first': lambda x, t: hk.BatchNorm(True, True, 0.9, data_format='NC...')(x, t),
  'no scale': lambda x, t: hk.BatchNorm(False, False, 0.9)(x, is_training=t),
  'scale from outside': lambda x, t: hk.BatchNorm(False, True, 0.9)(x, t, scale=x[:1, :1, :1] + 1),
  'some axes': lambda x, t: hk.BatchNorm(True, True, 0.9, axis=(0, -2))(x, t),
  'one dimension': lambda x, t: hk.BatchNorm(True, True, 0.9)(x[:, 0, 0], t),
}


@pytest.mark.parametrize('name', FORMATS)
def test_other_forms_of_haikus_module(name):
  network = make(FORMATS[name])
  ghost = batchnorm.ghost(network.apply, 3)
  images = np.concatenate([IMAGES[:1], IMAGES[1:3]] * 4)  # equal groups: the outer scale is one
  images *= np.repeat([1, 2, 3, 4], 3)[:, None, None, None] if name != 'scale from outside' else 1
  found, _ = run(ghost, network, images)
  groups = images.reshape(4, 3, *images.shape[1:])
  wanted = jax.vmap(lambda x: run(network.apply, network, x)[0])(groups)
  assert_close(found, wanted.reshape(found.shape))


def test_statistics_of_single_examples_know_no_groups():
  found = of_groups(IMAGES, (1, 2), size=5)
  assert_close(found, of_batch(IMAGES, (1, 2)))
  assert averaged(found, (1, 2)) is found


@pytest.mark.parametrize('size', [0, 2.5, float('nan')])
def test_a_size_that_is_none(size):
  with pytest.raises(InputError, match=r'^size='):
    batchnorm.ghost(lambda: None, size)


def test_a_size_that_does_not_divide_the_batch():
  network = KINDS['haiku']()
  with pytest.raises(InputError, match=r'^size=5 must divide the 12 examples of a batch$'):
    batchnorm.ghost(network.apply, 5)(network.params, network.state, None, IMAGES, True)
