"""The layers against NumPy, and what is random in them."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.errors import InputError
from nfnets.models.attention import SqueezeExcite
from nfnets.models.layers import (
  Linear,
  Mode,
  WSConv2D,
  average_pool,
  dropout,
  max_pool,
  stochastic_depth,
)
from nfnets.models.standardization import SCALED, Standardization

KERNELS = [(3, 3, 8, 5), (1, 1, 6, 4), (3, 3, 1, 7), (5, 12, 3)]


def normal(*shape):
  return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def scaled_standardized(kernel, gain, eps=1e-4):
  """The definition, in float64, one output unit after the other."""
  units = np.reshape(kernel, (-1, kernel.shape[-1])).astype(np.float64)
  fan_in = len(units)
  for unit in range(units.shape[1]):
    column = units[:, unit]
    variance = np.mean((column - np.mean(column)) ** 2)
    column[:] = (column - np.mean(column)) / np.sqrt(max(variance * fan_in, eps)) * gain[unit]
  return units.reshape(kernel.shape)


@pytest.mark.parametrize('shape', KERNELS)
def test_standardize_follows_the_definition(shape):
  kernel, gain = 3 * normal(*shape) + 1, 1 + 0.3 * normal(shape[-1])
  expected = scaled_standardized(kernel, gain)
  np.testing.assert_allclose(SCALED(kernel, gain), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('shape', KERNELS)
def test_every_output_unit_has_mean_0_and_variance_gain_squared_over_the_fan_in(shape):
  gain = 1 + 0.3 * normal(shape[-1])
  units = np.asarray(SCALED(3 * normal(*shape) + 1, gain), np.float64)
  units = units.reshape(-1, shape[-1])
  np.testing.assert_allclose(np.mean(units, axis=0), 0, atol=1e-7)
  np.testing.assert_allclose(np.var(units, axis=0), gain**2 / len(units), rtol=1e-5)


@pytest.mark.parametrize('shape', KERNELS)
def test_the_gradient_of_standardization_is_that_derived_by_hand(shape):
  kernel, gain = 3 * normal(*shape) + 1, 1 + 0.3 * normal(shape[-1])
  cotangent = normal(*shape, 2)[..., 1]
  _, pull_back = jax.vjp(SCALED, kernel, gain)
  by_kernel, by_gain = pull_back(cotangent)
  units, of_units = (x.reshape(-1, shape[-1]).astype(np.float64) for x in (kernel, cotangent))
  centered = units - units.mean(axis=0)
  squares = np.sum(centered**2, axis=0)
  along = np.sum(of_units * centered, axis=0)
  expected = of_units - of_units.mean(axis=0) - centered * along / squares
  expected = (expected * gain / np.sqrt(squares)).reshape(shape)
  scale = np.max(np.abs(expected))
  np.testing.assert_allclose(by_kernel / scale, expected / scale, atol=1e-5)
  np.testing.assert_allclose(by_gain, along / np.sqrt(squares), rtol=1e-4, atol=1e-5)


def test_eps_can_be_added_to_the_variance_and_the_result_scaled():
  kernel, gain = 1e-3 * normal(3, 3, 8, 5), 1 + 0.3 * normal(5)
  units = np.reshape(kernel, (-1, 5)).astype(np.float64)
  variance = units.var(axis=0) + 1e-5
  expected = (units - units.mean(axis=0)) / np.sqrt(variance * 72) * gain * 1.7
  standardized = Standardization(eps=1e-5, eps_is_added=True, scale=1.7)(kernel, gain)
  np.testing.assert_allclose(np.reshape(standardized, (-1, 5)), expected, rtol=1e-4, atol=1e-7)


def test_a_kernel_is_standardized_in_the_dtype_asked_for():
  kernel, gain = normal(3, 3, 8, 5), np.ones(5, np.float32)
  half = Standardization(dtype='bfloat16')
  assert half(jnp.asarray(kernel), jnp.asarray(gain)).dtype == jnp.bfloat16
  lower = jnp.asarray(kernel, jnp.bfloat16)
  assert Standardization(dtype='float32')(lower, jnp.asarray(gain, jnp.bfloat16)).dtype == (
    jnp.bfloat16
  )


def test_groups_that_divide_no_channels_are_named():
  network = hk.transform(lambda x: WSConv2D(8, 3, groups=4)(x))
  with pytest.raises(InputError, match=r'^groups=4 must divide the 6 input and 8 output channels$'):
    network.init(jax.random.key(0), np.zeros((1, 4, 4, 6), np.float32))


@pytest.mark.parametrize(('height', 'width'), [(6, 6), (7, 9), (5, 8)])
def test_max_pool_pads_as_it_is_told(height, width):
  x = normal(1, height, width, 2)
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
  rows, columns = -(-height // 2), -(-width // 2)
  expected = [
    [padded[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(columns)]
    for i in range(rows)
  ]
  np.testing.assert_array_equal(max_pool(x, 3, 2, symmetric_padding=True)[0], expected)
  np.testing.assert_array_equal(
    max_pool(x, 3, 2), hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), 'SAME')
  )


def test_small_variances_count_as_eps():
  kernel = np.float32([[1.001, 5], [0.999, 5]]).reshape(1, 1, 2, 2)  # fan-in 2, variance 1e-6 and 0
  ones = np.ones(2, np.float32)
  expected = np.array([[0.001, 0], [-0.001, 0]]).reshape(1, 1, 2, 2)
  np.testing.assert_allclose(SCALED(kernel, ones), expected / 1e-2, rtol=1e-4)
  # At eps = 1e-8 the first unit is above the bound.
  scaled = Standardization(eps=1e-8)(kernel, ones)
  np.testing.assert_allclose(scaled[0, 0, :, 0], [0.5**0.5, -(0.5**0.5)], rtol=1e-4)
  np.testing.assert_array_equal(scaled[0, 0, :, 1], 0)


def test_a_gradient_of_a_constant_kernel_is_finite():
  kernel, gain = jnp.ones((3, 3, 2, 4)), jnp.ones(4)
  gradient = jax.grad(lambda k: jnp.sum(SCALED(k, gain) * normal(3, 3, 2, 4)))(kernel)
  assert np.all(np.isfinite(gradient))


def run(module, params, x):
  """The output of a module made by `module()` with the parameters of its own names."""
  return hk.without_apply_rng(hk.transform(lambda x: module()(x))).apply(params, x)


def test_a_convolution_is_that_of_haiku_with_the_standardized_kernel():
  x, kernel = normal(2, 7, 5, 6), normal(3, 3, 3, 4)
  gain, bias = 1 + 0.3 * normal(4), normal(4)
  params = {'ws': {'w': kernel, 'gain': gain, 'bias': bias}}
  y = run(lambda: WSConv2D(4, 3, stride=2, groups=2, name='ws'), params, x)
  standardized = {'conv': {'w': scaled_standardized(kernel, gain).astype(np.float32), 'b': bias}}
  expected = run(
    lambda: hk.Conv2D(4, 3, stride=2, feature_group_count=2, name='conv'), standardized, x
  )
  np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_a_convolution_keeps_the_variance_of_its_input():
  x = normal(4, 16, 16, 64)
  module = hk.transform(lambda x: WSConv2D(256, 1)(x))
  params = module.init(jax.random.key(0), x)
  # Of 256 channels: the weights alone make their mean variance 1 within 1 %.
  assert np.var(module.apply(params, None, x)) == pytest.approx(np.var(x), rel=0.02)


@pytest.mark.parametrize(
  ('module', 'shape'),
  [
    (lambda: WSConv2D(4, 3), (2, 5, 5, 3)),
    (lambda: SqueezeExcite(4, 0.5), (2, 5, 5, 4)),
    (lambda: Linear(7), (2, 5)),
  ],
)
def test_parameters_are_float32_and_the_output_has_the_dtype_of_the_input(module, shape):
  network = hk.transform(lambda x: module()(x))
  x = jax.ShapeDtypeStruct(shape, jnp.bfloat16)
  params = jax.eval_shape(network.init, jax.random.key(0), x)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('float32')}
  assert jax.eval_shape(network.apply, params, jax.random.key(0), x).dtype == jnp.bfloat16


def test_weights_are_standardized_in_float32_for_bfloat16_images():
  # A kernel far from mean 0, so that bfloat16 would lose what is standardized.
  x = normal(2, 5, 5, 6)
  params = {'ws': {'w': 300 + normal(3, 3, 6, 4), 'gain': np.ones(4), 'bias': np.zeros(4)}}
  params = jax.tree.map(np.float32, params)
  exact = run(lambda: WSConv2D(4, 3, name='ws'), params, x)
  y = run(lambda: WSConv2D(4, 3, name='ws'), params, x.astype(jnp.bfloat16))
  np.testing.assert_allclose(y.astype(np.float32), exact, atol=0.03)


def test_squeeze_excite_is_twice_a_gate_with_a_plain_relu():
  x = normal(2, 3, 5, 4)
  params = {
    'se/~/linear': {'w': normal(4, 2), 'b': normal(2)},
    'se/~/linear_1': {'w': normal(2, 4), 'b': normal(4)},
  }
  y = run(lambda: SqueezeExcite(4, 0.5, name='se'), params, x)
  (squeeze, excite) = params.values()
  hidden = np.maximum(np.mean(x, axis=(1, 2)) @ squeeze['w'] + squeeze['b'], 0)
  gate = 1 / (1 + np.exp(-(hidden @ excite['w'] + excite['b'])))
  assert 0 < np.mean(hidden > 0) < 1
  np.testing.assert_allclose(y, 2 * gate[:, None, None, :] * x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('ratio', 'hidden'), [(0.5, 2), (0.3, 1), (0.01, 1), (1.0, 5)])
def test_squeeze_excite_has_one_hidden_unit_at_least(ratio, hidden):
  network = hk.transform(lambda x: SqueezeExcite(5, ratio)(x))
  params = jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 2, 2, 5), 'f4'))
  assert params['squeeze_excite/~/linear']['w'].shape == (5, hidden)


def test_the_mean_at_the_border_is_over_valid_cells_only():
  x = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3, 1)
  pooled = average_pool(x, 2)
  np.testing.assert_allclose(pooled[0, :, :, 0], [[3, 4.5], [7.5, 9]])


@pytest.mark.parametrize('shape', [(2, 4, 6, 3), (1, 5, 4, 2), (1, 1, 1, 2)])
@pytest.mark.parametrize('stride', [1, 2, 3])
def test_average_pool_follows_the_definition(shape, stride):
  x = normal(*shape)
  pooled = np.asarray(average_pool(x, stride))
  starts = [
    max((-(-size // stride)) * stride - size, 0) // 2  # 'SAME' puts the odd cell behind
    for size in shape[1:3]
  ]
  for i, j in np.ndindex(*pooled.shape[1:3]):
    top, left = (max(n * stride - start, 0) for n, start in zip((i, j), starts, strict=True))
    bottom, right = ((n + 1) * stride - start for n, start in zip((i, j), starts, strict=True))
    expected = np.mean(x[:, top:bottom, left:right], axis=(1, 2))
    np.testing.assert_allclose(pooled[:, i, j], expected, rtol=1e-5, atol=1e-6)


def drop(function, x, rate, ids=None, *, is_training=True, seed=0):
  """`stochastic_depth` or `dropout` of examples with these ids, at one key."""
  ids = np.arange(len(x)) if ids is None else ids
  transformed = hk.transform(lambda x, ids: function(x, rate, Mode(is_training, ids)))
  return np.asarray(transformed.apply({}, jax.random.key(seed), x, ids))


def drop_branches(x, rate, mode):
  return stochastic_depth(x, mode.kept([rate])[0])


BOTH = [(drop_branches, (64, 2, 2, 3)), (dropout, (64, 12))]


def test_stochastic_depth_drops_whole_examples_and_rescales_nothing():
  x = 1 + np.abs(normal(4000, 2, 1, 3))
  y = drop(drop_branches, x, 0.3)
  kept = np.any(y != 0, axis=(1, 2, 3))
  np.testing.assert_array_equal(y, x * kept[:, None, None, None])
  assert np.mean(kept) == pytest.approx(0.7, abs=4 * (0.3 * 0.7 / 4000) ** 0.5)


def test_every_branch_is_dropped_at_its_rate_and_on_its_own():
  rates, examples = [0.0, 0.2, 0.7], 4000
  draw = hk.transform(lambda ids: Mode(True, ids).kept(rates))
  always, *drawn = draw.apply({}, jax.random.key(0), jnp.arange(examples))
  assert always is None
  kept = np.stack(drawn)
  np.testing.assert_allclose(np.mean(kept, axis=1), [0.8, 0.3], atol=0.03)
  assert abs(np.corrcoef(kept)[0, 1]) < 0.06


def test_dropout_drops_elements_and_rescales_the_rest():
  x = 1 + np.abs(normal(200, 50))
  y = drop(dropout, x, 0.3)
  kept = y != 0
  np.testing.assert_allclose(y, np.where(kept, x / 0.7, 0), rtol=1e-6)
  assert np.mean(kept) == pytest.approx(0.7, abs=4 * (0.3 * 0.7 / 10_000) ** 0.5)
  # Each element is drawn: neither whole rows nor whole columns go.
  assert np.all(np.std(kept, axis=0) > 0)
  assert np.all(np.std(kept, axis=1) > 0)


@pytest.mark.parametrize(('function', 'shape'), BOTH)
@pytest.mark.parametrize(('rate', 'is_training'), [(0.5, False), (0.0, True)])
def test_nothing_is_dropped_in_evaluation_or_at_rate_0(function, shape, rate, is_training):
  x = normal(*shape)
  mode = Mode(is_training, jnp.arange(len(x)))
  # Without a key: nothing may be drawn.
  y = hk.transform(lambda x: function(x, rate, mode)).apply({}, None, x)
  np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(('function', 'shape'), BOTH)
def test_what_is_dropped_depends_on_the_examples_number_alone(function, shape):
  x = normal(*shape)
  y = drop(function, x, 0.5)
  assert 0 < np.mean(y == 0) < 1
  order = np.random.default_rng(1).permutation(len(x))
  np.testing.assert_array_equal(drop(function, x[order], 0.5, order), y[order])
  halves = np.split(np.arange(len(x)), 2)
  parts = [drop(function, x[half], 0.5, half) for half in halves]
  np.testing.assert_array_equal(np.concatenate(parts), y)


@pytest.mark.parametrize(('function', 'shape'), BOTH)
def test_what_is_dropped_depends_on_the_key(function, shape):
  x = normal(*shape)
  assert np.any((drop(function, x, 0.5, seed=0) == 0) != (drop(function, x, 0.5, seed=1) == 0))


@pytest.mark.parametrize(('function', 'shape'), BOTH)
def test_the_dtype_is_kept(function, shape):
  assert drop(function, normal(*shape).astype(jnp.bfloat16), 0.5).dtype == jnp.bfloat16


def test_two_draws_of_one_pass_differ():
  def draws():
    mode = Mode(True, jnp.arange(8))
    return mode.uniform(), mode.uniform(), mode.uniform(5)

  first, second, wide = hk.transform(draws).apply({}, jax.random.key(0))
  assert not np.any(first == second)
  assert (first.shape, wide.shape) == ((8,), (8, 5))
  assert np.all((wide >= 0) & (wide < 1))
  assert len(np.unique(wide)) == wide.size
