"""Statistics over devices are those of one device that has the whole batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batchnorm.norm_networks import IMAGES, KINDS, assert_close, descend, loss
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from nfnets import batchnorm

AXIS = 'devices'


def step(apply, params, state, images):
  """What a step of training computes on each device: its own loss, and mean gradients."""
  compute = jax.value_and_grad(functools.partial(loss, apply), has_aux=True)
  (value, (state, _)), gradients = compute(params, state, images)
  return jax.lax.pmean((value, gradients), AXIS), state


def on_devices(apply, network, images, devices, how='pmap'):
  """([devices, ...] of everything)."""
  function = functools.partial(step, apply, network.params, network.state)
  count = len(devices)
  if how == 'pmap':
    parts = images.reshape(count, -1, *images.shape[1:])
    return jax.pmap(function, axis_name=AXIS, devices=devices)(parts)
  mesh = jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)

  def stacked(x):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], function(x))

  mapped = jax.shard_map(stacked, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=False)
  return jax.jit(mapped)(images)


def joint(network, images):
  (value, (state, _)), gradients = descend(network.apply, network, images)
  return (value, gradients), state


@pytest.mark.parametrize(('kind', 'how'), [('haiku', 'pmap'), ('ours', 'shard_map')])
def test_loss_gradients_and_averages_are_those_of_the_joint_batch(kind, how):
  network = KINDS[kind]()
  synced = batchnorm.synced(network.apply, AXIS)
  found = on_devices(synced, network, IMAGES, jax.devices()[:2], how)
  wanted = joint(network, IMAGES)
  for device in range(2):
    assert_close(jax.tree.map(lambda x, i=device: x[i], found), wanted)


def test_without_it_devices_differ():
  network = KINDS['haiku']()
  (value, _), state = on_devices(network.apply, network, IMAGES, jax.devices()[:2])
  (wanted, _), _ = joint(network, IMAGES)
  assert abs(value[0] - wanted) > 1e-3
  mean = batchnorm.read_averages(state)['second'].mean
  assert np.abs(mean[0] - mean[1]).max() > 1e-3


def test_groups_of_devices():
  network = KINDS['ours']()
  synced = batchnorm.synced(network.apply, AXIS, groups=[[0, 1], [2, 3]])
  (value, gradients), state = on_devices(synced, network, IMAGES, jax.devices()[:4])
  halves = [joint(network, half) for half in np.split(IMAGES, 2)]
  mean = jax.tree.map(lambda a, b: (a + b) / 2, halves[0][0], halves[1][0])
  assert_close(jax.tree.map(lambda x: x[0], (value, gradients)), mean)
  for device in range(4):
    assert_close(jax.tree.map(lambda x, i=device: x[i], state), halves[device // 2][1])
