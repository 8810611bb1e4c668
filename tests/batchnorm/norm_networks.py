"""Networks of two layers of batch normalization, somebody's own and of our modules."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from nfnets.models.layers import Mode
from nfnets.models.normalization import BatchNorm

IMAGES = np.random.default_rng(0).gamma(2, 1, (12, 4, 4, 3)).astype(np.float32)


class Network(NamedTuple):
  """A network and first values that are no special case."""

  apply: Callable
  """(params, state, rng, images, is_training) -> ([N, 3], state)"""
  params: dict
  state: dict


def haikus(x, is_training):
  for name in ('first', 'second'):
    x = hk.Linear(5, name=f'{name}_linear')(x)
    x = jax.nn.relu(hk.BatchNorm(True, True, decay_rate=0.9, name=name)(x, is_training))
  return hk.Linear(3)(x.mean((1, 2)))


def ours(x, is_training):
  mode = Mode(is_training, jnp.arange(len(x)))
  for name in ('first', 'second'):
    x = hk.Linear(5, name=f'{name}_linear')(x)
    x = jax.nn.relu(BatchNorm(name=name)(x, mode))
  return hk.Linear(3)(x.mean((1, 2)))


def make(function: Callable, images=IMAGES) -> Network:
  network = hk.transform_with_state(function)
  init = jax.jit(network.init, static_argnums=2)
  params, state = jax.device_get(init(jax.random.key(1), images, True))
  rng = np.random.default_rng(2)
  params = jax.tree.map(lambda x: x + 0.2 * rng.normal(size=x.shape).astype(np.float32), params)
  fresh = Network(network.apply, params, state)
  return fresh._replace(state=jax.device_get(run(fresh.apply, fresh, images[:5] + 0.5)[1]))


KINDS = {
  'haiku': functools.cache(lambda: make(haikus)),
  'ours': functools.cache(lambda: make(ours)),
}


def run(apply, network, images, is_training=True):
  """(outputs, new state), compiled."""
  compiled = jax.jit(lambda p, s, x: apply(p, s, None, x, is_training))
  return compiled(network.params, network.state, images)


def loss(apply, params, state, images):
  """Mean over the examples of something that tells them apart."""
  outputs, state = apply(params, state, None, images, True)
  return jnp.mean(jnp.square(outputs - jnp.arange(3))), (state, outputs)


def descend(apply, network, images):
  """((loss, (new state, outputs)), gradients), compiled."""
  compute = jax.jit(jax.value_and_grad(functools.partial(loss, apply), has_aux=True))
  return compute(network.params, network.state, images)


def assert_close(found, wanted, rtol=2e-4, atol=2e-5):
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), found, wanted)
