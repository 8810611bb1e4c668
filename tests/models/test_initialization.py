"""First values without computing the network: the right tree, and values of seed and path alone."""

import json
import math
import pathlib
import zlib

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nfnets
from nfnets.models import initialization
from nfnets.models.attention import SqueezeExcite
from nfnets.models.initialization import initialize
from nfnets.models.initializers import Normal
from nfnets.models.layers import WSConv2D

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'param_trees.json'
GOLDEN_TREES = {name: model['params'] for name, model in json.loads(GOLDEN.read_text()).items()}
IMAGES = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
KEY = jax.random.key(0)
# Of a standard normal variable cut at -2 and 2: 1 - 2 * 2 * pdf(2) / P(|x| < 2), under the root.
CUT_STDDEV = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(2 / math.sqrt(2)))


class Net(hk.Module):
  """Somebody's own network: layers of this project, layers of Haiku, a parameter and state."""

  def __init__(self, width=16):
    super().__init__(name='net')
    self.conv = WSConv2D(width, 3, name='conv')
    self.norm = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9, name='norm')

  def __call__(self, x):
    x = SqueezeExcite(self.conv.output_channels, 0.5)(self.norm(self.conv(x), is_training=True))
    x = hk.nets.MLP([8, 4])(jnp.mean(x, axis=(1, 2)))
    temperature = hk.get_parameter('temperature', (), init=hk.initializers.Constant(3.0))
    empty = hk.get_parameter('empty', (0, 4), init=Normal())
    return x * temperature + jnp.sum(empty)


def forward(x):
  return Net()(x)


def shapes(tree):
  return {
    module: {name: (leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
    for module, leaves in tree.items()
  }


def leaves(tree):
  """(module, name) -> value."""
  return {(module, name): leaf for module, names in tree.items() for name, leaf in names.items()}


def assert_same(one, other, **tolerance):
  assert shapes(one) == shapes(other)
  for path, value in leaves(one).items():
    np.testing.assert_allclose(value, leaves(other)[path], err_msg=str(path), **tolerance)


def test_the_tree_is_that_of_haiku():
  ours = initialize(forward, KEY, IMAGES)
  theirs = hk.transform_with_state(forward).init(KEY, np.zeros(IMAGES.shape, np.float32))
  for one, other in zip(ours, theirs, strict=True):
    assert shapes(one) == shapes(other)


def test_constants_and_state_are_what_their_initializers_say():
  params, state = initialize(forward, KEY, IMAGES)
  assert params['net']['temperature'] == 3
  np.testing.assert_array_equal(params['net/~/conv']['gain'], 1)
  np.testing.assert_array_equal(params['net/~/conv']['bias'], 0)
  np.testing.assert_array_equal(params['net/~/norm']['scale'], 1)
  np.testing.assert_array_equal(state['net/~/norm/~/var_ema']['average'], 0)
  assert state['net/~/norm/~/mean_ema']['counter'] == 0
  assert state['net/~/norm/~/mean_ema']['counter'].dtype == jnp.int32


def test_initializers_of_haiku_draw_what_they_say():
  params, _ = initialize(lambda x: hk.Linear(2000)(x), KEY, jax.ShapeDtypeStruct((1, 100), 'f4'))
  w = np.asarray(
    params['linear']['w']
  )  # truncated normal of standard deviation 0.1, cut at 2 of them
  assert np.max(np.abs(w)) == pytest.approx(0.2, rel=1e-3)
  assert np.std(w) == pytest.approx(0.1 * CUT_STDDEV, rel=0.01)


def test_nothing_is_computed():
  def expensive(x):
    jax.debug.callback(lambda: pytest.fail('the network was run'))
    return Net()(x)

  initialize(expensive, KEY, IMAGES)


def test_a_value_depends_on_key_and_path_alone():
  params, _ = initialize(forward, KEY, IMAGES)

  def longer(x):
    y = Net()(x)
    other = hk.Linear(5, w_init=Normal(), name='another')
    return other(y)

  more, _ = initialize(longer, KEY, IMAGES)
  assert more.keys() - params.keys() == {'another'}
  assert_same({module: more[module] for module in params}, params, rtol=0)


def test_the_body_does_not_depend_on_the_classifier():
  bodies = []
  for num_classes in (0, 10, 1000):
    params, _ = nfnets.create_model('nfnet_tiny', num_classes).init(KEY)
    params.pop('NFNet/~/linear', None)
    bodies.append(params)
  assert_same(bodies[0], bodies[1], rtol=0)
  assert_same(bodies[0], bodies[2], rtol=0)


def test_another_key_gives_other_values_of_all_that_is_drawn():
  one, other = (leaves(initialize(forward, jax.random.key(seed), IMAGES)[0]) for seed in (0, 1))
  drawn = {path for path in one if path[1] == 'w'}
  assert len(drawn) == 5
  assert not any(np.any(one[path] == other[path]) for path in drawn)


def test_leaves_of_one_shape_share_no_numbers():
  def forward():
    for index in range(20):
      hk.get_parameter(f'w{index}', (2, 5000), init=Normal(1.0))

  (tree, _) = initialize(forward, KEY)
  numbers = np.array([leaf.ravel() for leaf in tree['~'].values()])
  assert len(np.unique(numbers[:, :100])) == 20 * 100
  correlations = np.corrcoef(numbers) - np.eye(20)
  assert np.max(np.abs(correlations)) < 5 * 10_000**-0.5


SHAPE = (200, 5000)  # a million numbers; the fan-in is 200


def one_parameter(init, shape=SHAPE):
  """A network that is a single parameter."""
  return lambda: hk.get_parameter('w', shape, init=init)


def by_initialize(init, shape=SHAPE):
  (tree, _) = initialize(one_parameter(init, shape), KEY)
  return np.asarray(tree['~']['w'], np.float64)


def by_haiku(init, shape=SHAPE):
  tree = hk.transform(one_parameter(init, shape)).init(KEY)
  return np.asarray(tree['~']['w'], np.float64)


BOTH = pytest.mark.parametrize('draw', [by_initialize, by_haiku])


@BOTH
@pytest.mark.parametrize(('stddev', 'scale'), [(None, 200**-0.5), (0.01, 0.01)])
def test_normal_numbers_have_their_mean_deviation_and_tails(draw, stddev, scale):
  numbers = draw(Normal(stddev)) / scale
  count = numbers.size
  assert np.mean(numbers) == pytest.approx(0, abs=4 * count**-0.5)
  assert np.std(numbers) == pytest.approx(1, abs=4 * (2 * count) ** -0.5)
  for limit in (1, 2, 3, 4):
    expected = math.erfc(limit / math.sqrt(2))
    share = np.mean(np.abs(numbers) > limit)
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / count))
  assert np.all(np.isfinite(numbers))
  assert 4.4 < np.max(numbers) < 6.5
  assert 4.4 < -np.min(numbers) < 6.5


@BOTH
@pytest.mark.parametrize(('stddev', 'scale'), [(None, 200**-0.5), (0.01, 0.01)])
def test_truncated_normal_numbers_have_their_mean_deviation_and_bounds(draw, stddev, scale):
  numbers = draw(Normal(stddev, truncated=True)) / scale
  assert np.mean(numbers) == pytest.approx(0, abs=4 * numbers.size**-0.5)
  assert np.std(numbers) == pytest.approx(CUT_STDDEV, abs=4 * (2 * numbers.size) ** -0.5)
  assert np.max(numbers) == pytest.approx(2, abs=1e-3)
  assert np.min(numbers) == pytest.approx(-2, abs=1e-3)
  assert np.max(np.abs(numbers)) < 2 + 1e-5


@BOTH
def test_neighbours_are_not_correlated(draw):
  numbers = draw(Normal(1.0))
  for shift in ((0, 1), (1, 0), (0, 2048), (1, 1)):
    product = numbers * np.roll(numbers, shift, axis=(0, 1))
    assert np.mean(product) == pytest.approx(0, abs=4 * numbers.size**-0.5)
  assert len(np.unique(numbers)) > 0.9 * numbers.size  # of 2**24 possible numbers


@pytest.mark.parametrize('shape', [(), (1,), (3,), (0,), (4, 0, 2), (4097,), (1, 1, 1, 1)])
def test_every_shape_is_filled(shape):
  numbers = by_initialize(Normal(1.0), shape)
  assert numbers.shape == shape
  assert np.all(numbers != 0)
  assert len(np.unique(numbers)) == numbers.size


def test_a_network_without_parameters_has_empty_trees():
  assert initialize(lambda x: x, KEY, IMAGES) == ({}, {})


def test_the_dtype_asked_for_is_kept():
  def forward():
    return hk.get_parameter('w', (3, 4), jnp.bfloat16, init=Normal())

  (tree, _) = initialize(forward, KEY)
  assert tree['~']['w'].dtype == jnp.bfloat16


def test_typed_and_raw_keys_give_the_same_values():
  typed, raw = jax.random.key(7), jax.random.PRNGKey(7)
  assert_same(initialize(forward, typed, IMAGES)[0], initialize(forward, raw, IMAGES)[0], rtol=0)


def test_other_kinds_of_keys_work():
  params, _ = initialize(forward, jax.random.key(7, impl='rbg'), IMAGES)
  assert np.std(params['net/~/conv']['w']) == pytest.approx(27**-0.5, rel=0.2)


def test_compiled_it_gives_the_same_values():
  eager = initialize(forward, KEY, IMAGES)
  compiled = jax.jit(lambda key: initialize(forward, key, IMAGES))(KEY)
  for one, other in zip(eager, compiled, strict=True):
    assert_same(dict(one), other, rtol=1e-6, atol=1e-7)


def test_many_seeds_are_drawn_by_vmap():
  keys = jax.random.split(KEY, 3)
  many, _ = jax.vmap(lambda key: initialize(forward, key, IMAGES))(keys)
  for index, key in enumerate(keys):
    one = jax.tree.map(lambda leaf, index=index: leaf[index], many)
    assert_same(one, initialize(forward, key, IMAGES)[0], rtol=1e-6, atol=1e-7)


def test_the_hash_of_every_leaf_of_every_golden_model_is_its_own():
  # Two leaves whose paths had the same hash would get the same numbers.
  for tree in GOLDEN_TREES.values():
    hashes = {zlib.crc32(f'{module}/{name}'.encode()) for module in tree for name in tree[module]}
    assert len(hashes) == sum(map(len, tree.values()))


def test_no_random_word_makes_an_infinite_number():
  words = np.uint32([0, 511, 512, 2**31 - 1, 2**31, 2**32 - 513, 2**32 - 512, 2**32 - 1])
  uniform = np.asarray(initialization._uniform(words))
  np.testing.assert_array_equal(uniform[[0, -1]], np.float32([-1 + 2**-23, 1 - 2**-23]))
  np.testing.assert_array_equal(uniform[::-1], -uniform)
  assert np.all(np.isfinite(jax.lax.erf_inv(uniform)))


@pytest.mark.slow
def test_a_hundred_million_numbers_are_finite():
  """More than 2**24: what happens once in so many shows."""

  def forward():
    for i in range(6):
      hk.get_parameter(f'w{i}', (4096, 4096), init=Normal())

  params, _ = initialization.initialize(forward, jax.random.key(0))
  for leaf in jax.tree.leaves(params):
    assert np.isfinite(np.sum(leaf))
