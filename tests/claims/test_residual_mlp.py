"""Residual MLPs: each scheme is its equation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.claims.beds.residual_mlp import BLOCK, HEAD, NORM, SCHEMES, STEM, ResidualMLP
from nfnets.claims.beds.running_averages import DECAY, fresh_averages, normalize
from nfnets.models.activations import find_activation
from nfnets.optim.groups import group_of

KEY = jax.random.key(0)
IMAGES = jax.random.normal(jax.random.key(1), (32, 4, 4, 1))
SMALL = ResidualMLP(scheme='skipinit', blocks=3, width=8, inputs=16, classes=5)


def small(scheme: str, **changes) -> ResidualMLP:
  return dataclasses.replace(SMALL, scheme=scheme, **changes)


def shaken(tree, seed: int = 2):
  """Every parameter a bit off its first value, so that none is without effect."""
  leaves, treedef = jax.tree.flatten(tree)
  keys = jax.random.split(jax.random.key(seed), len(leaves))
  moved = [
    leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)
  ]
  return jax.tree.unflatten(treedef, moved)


def relu(x):
  return np.maximum(x, 0)


def batch_normalized(x, leaves):
  return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * leaves['scale'] + leaves['offset']


def standardized(leaves):
  w = leaves['w']
  deviation = w.std(0) * np.sqrt(len(w))
  return (w - w.mean(0)) / deviation * leaves['gain']


def block(scheme, of, x, beta):
  """The equation of one block, in numpy; `of(name)` gives its parameters."""
  first, second = of('/~/dense0'), of('/~/dense1')
  if scheme == 'batchnorm':
    y = relu(batch_normalized(x, of('/~/norm0'))) @ first['w']
    return x + relu(batch_normalized(y, of('/~/norm1'))) @ second['w']
  if scheme == 'fixup':
    own = of('')
    y = (relu(x + own['bias0a']) + own['bias0b']) @ first['w']
    y = (relu(y + own['bias1a']) + own['bias1b']) @ second['w']
    return x + own['scale'] * y + own['bias_end']
  if scheme == 'nf':
    gamma = find_activation('relu').gamma
    y = gamma * relu(x) * beta @ standardized(first) + first['b']
    y = gamma * relu(y) @ standardized(second) + second['b']
    return x + 0.2 * of('')['skip_gain'] * y
  y = relu(relu(x) @ first['w'] + first['b']) @ second['w'] + second['b']
  if scheme == 'skipinit':
    y = y * of('')['skip_gain']
  return (x + y) / (2**0.5 if scheme == 'sqrt2' else 1)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_every_scheme_is_its_equation(scheme):
  network = small(scheme, skip_gain=0.7, fixup_rules='shrunken')
  params, state = network.init(KEY)
  params = shaken(params)
  outputs, _ = network.apply(params, state, None, IMAGES, is_training=True)
  known = jax.tree.map(np.asarray, params)
  x = np.asarray(IMAGES).reshape(32, 16) @ known[STEM]['w'] + known[STEM]['b']
  for number in range(3):

    def of(name, number=number):
      return {leaf: values[number] for leaf, values in known[BLOCK + name].items()}

    x = block(scheme, of, x, (1 + 0.04 * number) ** -0.5)
  if scheme == 'batchnorm':
    x = batch_normalized(x, known[NORM])
  gamma = find_activation('relu').gamma if scheme == 'nf' else 1
  expected = gamma * relu(x) @ known[HEAD]['w'] + known[HEAD]['b']
  np.testing.assert_allclose(outputs['logits'], expected, rtol=1e-4, atol=1e-5)


def test_with_gain_zero_the_branches_are_off():
  params, state = SMALL.init(KEY)
  without = dataclasses.replace(SMALL, blocks=1)
  shallow = {
    path: {name: leaf[:1] for name, leaf in leaves.items()} if path.startswith(BLOCK) else leaves
    for path, leaves in params.items()
  }
  outputs, _ = SMALL.apply(params, state, None, IMAGES)
  expected, _ = without.apply(shallow, state, None, IMAGES)
  np.testing.assert_allclose(outputs['logits'], expected['logits'], rtol=1e-5)


@pytest.mark.parametrize(
  ('rules', 'has_zeros', 'is_shrunken'),
  [('both', True, True), ('zeros', True, False), ('shrunken', False, True)],
)
def test_first_weights_follow_the_rules_of_fixup(rules, has_zeros, is_shrunken):
  network = small('fixup', blocks=9, width=64, fixup_rules=rules)
  params, _ = network.init(KEY)
  he = (2 / 64) ** 0.5
  first, last = (params[f'{BLOCK}/~/dense{i}']['w'] for i in range(2))
  np.testing.assert_allclose(np.std(first), he / 3 if is_shrunken else he, rtol=0.02)
  np.testing.assert_allclose(np.std(last), 0 if has_zeros else he, rtol=0.02)
  assert np.any(params[HEAD]['w']) != has_zeros


@pytest.mark.parametrize('scheme', SCHEMES)
def test_parameters_are_in_their_groups(scheme):
  params, _ = small(scheme).init(KEY)
  groups = {
    (path, name): group_of(path, name) for path, leaves in params.items() for name in leaves
  }
  assert [place for place, group in groups.items() if group == 'classifier'] == [(HEAD, 'w')]
  weights = {place for place, group in groups.items() if group == 'weights'}
  assert weights == {(path, 'w') for path in (STEM, *(f'{BLOCK}/~/dense{i}' for i in range(2)))}


def test_evaluation_uses_the_averages_and_does_not_change_them():
  network = small('batchnorm')
  params, state = network.init(KEY)
  trained, state = network.apply(params, state, None, IMAGES, is_training=True)
  evaluated, after = network.apply(params, state, None, IMAGES)
  # After one batch the averages are its statistics.
  np.testing.assert_allclose(evaluated['logits'], trained['logits'], rtol=1e-4, atol=1e-5)
  jax.tree.map(np.testing.assert_array_equal, after, state)
  one, _ = network.apply(params, state, None, IMAGES[:1])
  np.testing.assert_allclose(one['logits'][0], evaluated['logits'][0], rtol=1e-4, atol=1e-5)


def test_the_averages_weigh_batches_as_an_exponential_average_does():
  leaves = {'scale': jnp.ones(2), 'offset': jnp.zeros(2)}
  averages = fresh_averages((2,))
  batches = np.random.default_rng(0).normal(3, 2, (4, 16, 2)).astype(np.float32)
  for batch in batches:
    _, averages = normalize(leaves, averages, batch, is_training=True)
  weights = DECAY ** np.arange(3, -1, -1)
  for name, values in (('mean', batches.mean(1)), ('variance', batches.var(1))):
    expected = np.average(values, 0, weights)
    np.testing.assert_allclose(averages[name], expected, rtol=1e-5)


def test_dropout_is_for_training_and_keeps_the_mean():
  network = small('skipinit', drop_rate=0.5, width=512)
  params, state = network.init(KEY)
  plain, _ = network.apply(params, state, None, IMAGES)
  alike = jnp.repeat(IMAGES[:1], 400, 0)
  dropped, _ = network.apply(params, state, KEY, alike, is_training=True)
  error = np.std(dropped['logits'], 0) / 20
  assert np.all(error > 0)
  assert np.all(np.abs(np.mean(dropped['logits'], 0) - plain['logits'][0]) < 4 * error)


def test_the_flow_is_that_of_the_blocks():
  network = small('skipinit', skip_gain=0.5, blocks=2)
  params, state = network.init(KEY)
  flow, _ = network.flow(params, state, IMAGES)
  x = np.asarray(IMAGES).reshape(32, 16) @ params[STEM]['w'] + params[STEM]['b']
  for number in range(2):
    first, second = (params[f'{BLOCK}/~/dense{i}']['w'][number] for i in range(2))
    y = 0.5 * relu(relu(x) @ first) @ second
    for name, value in (('skip', x), ('branch', y)):
      square, variance = getattr(flow, f'{name}_square'), getattr(flow, f'{name}_variance')
      np.testing.assert_allclose(square[number], np.mean(value**2), rtol=1e-5)
      np.testing.assert_allclose(variance[number], np.mean(np.var(value, 0)), rtol=1e-5)
    x = x + y
