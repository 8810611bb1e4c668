"""Signal propagation: the measurement against NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from micro import micro_model
from models.signal_networks import CURVES, changed, normal_images, statistics_of

from nfnets.errors import InputError
from nfnets.models.signals import Signals, signal_propagation
from nfnets.models.taps import collect, tap
from nfnets.models.zoo import create_model


def assert_same(a: Signals, b: Signals) -> None:
  for curve in CURVES:
    np.testing.assert_array_equal(getattr(a, curve), getattr(b, curve))


def two_blocks(params: dict, images: jax.Array) -> jax.Array:
  """Somebody's network; its feature maps need not be maps."""
  x = jnp.mean(images, (1, 2))
  for weight in params['weights']:
    x = tap('block', x + tap('branch', x @ weight))
  return x


def tapping(*names: str):
  def function(params: object, images: jax.Array) -> None:
    for name in names:
      tap(name, images)

  return function


def test_the_curves_of_a_function_are_those_of_numpy():
  rng = np.random.default_rng(0)
  params = {'weights': [jnp.asarray(rng.normal(size=(3, 3)), jnp.float32) for _ in range(2)]}
  images = jnp.asarray(rng.normal(1, 1, (8, 4, 4, 3)), jnp.float32)
  found = signal_propagation(two_blocks, params, images)
  _, tapped = collect(two_blocks, statistics_of)(params, images)
  assert found.names == ('block_0', 'block_1')
  np.testing.assert_allclose(found.squared_mean, [mean for mean, _ in tapped['block']], 1e-5)
  np.testing.assert_allclose(found.variance, [spread for _, spread in tapped['block']], 1e-5)
  np.testing.assert_allclose(
    found.branch_variance, [spread for _, spread in tapped['branch']], 1e-5
  )


def test_the_statistics_of_bfloat16_are_float32():
  # Its means are known to 1 part in 256, which is more than the deviation.
  images = jnp.asarray(np.random.default_rng(0).normal(100, 0.5, (8, 16, 16, 4)), jnp.bfloat16)
  found = signal_propagation(tapping('branch', 'block'), {}, images)
  squared_mean, variance = statistics_of(images)
  np.testing.assert_allclose(found.squared_mean, squared_mean, rtol=1e-6)
  np.testing.assert_allclose(found.variance, variance, rtol=1e-4)


def test_the_curves_of_a_network_are_those_of_its_features():
  model = changed(micro_model(), skip_gain=1.0)
  params, state = model.init(jax.random.key(0))
  images = normal_images(0, 4, 17, 20, 3)
  found = signal_propagation(model, params, images)
  apply = jax.jit(lambda *args: model.apply(*args, return_features=True))
  outputs, _ = apply(params, state, None, images)
  features = [statistics_of(outputs[name]) for name in found.names]
  assert len(features) == 3
  np.testing.assert_allclose(found.squared_mean, [mean for mean, _ in features], rtol=1e-4)
  np.testing.assert_allclose(found.variance, [variance for _, variance in features], rtol=1e-4)
  assert np.all(found.branch_variance > 0.01)


def test_nothing_is_dropped():
  images = normal_images(0, 2, 16, 16, 3)
  calm, wild = micro_model(), micro_model(drop_rate=0.9)
  params, _ = calm.init(jax.random.key(0))
  assert_same(signal_propagation(wild, params, images), signal_propagation(calm, params, images))


def test_batch_normalization_goes_by_the_images():
  model = changed(create_model('wide_resnet_16_2'), depths=(1, 1, 1))
  params, state = model.init(jax.random.key(0))
  images = normal_images(0, 4, 16, 16, 3)
  found = signal_propagation(model, params, images)
  larger = signal_propagation(model, params, 7 * images)
  for curve in CURVES:
    np.testing.assert_allclose(getattr(larger, curve), getattr(found, curve), rtol=1e-3)  # eps
  other_state = jax.tree.map(lambda leaf: leaf + 3, state)
  assert_same(signal_propagation(model, params, images, state=other_state), found)


def test_loops_over_blocks_are_taken_apart():
  model = changed(micro_model(), depths=(1, 4))
  looped = dataclasses.replace(
    model, execution=dataclasses.replace(model.execution, scan_from=2, remat='block')
  )
  params, _ = model.init(jax.random.key(0))
  images = normal_images(0, 2, 16, 16, 3)
  found = signal_propagation(looped, params, images)
  assert len(found.names) == 5
  assert_same(found, signal_propagation(model, params, images))


def test_a_function_is_compiled_once():
  traced = []

  def counting(params: dict, images: jax.Array) -> jax.Array:
    traced.append(1)
    return two_blocks(params, images)

  params = {'weights': [jnp.eye(3)]}
  for seed in range(3):
    signal_propagation(counting, params, normal_images(seed, 2, 4, 4, 3))
  assert len(traced) == 1


def in_a_loop(params: object, images: jax.Array) -> jax.Array:
  return jax.lax.scan(lambda x, _: (tap('block', tap('branch', x)), None), images, None, 3)[0]


def in_a_checkpoint(params: object, images: jax.Array) -> jax.Array:
  return jax.checkpoint(lambda x: tap('block', tap('branch', x)))(images)


@pytest.mark.parametrize(
  ('function', 'message'),
  [
    (tapping(), r"called tap\('block', x\) 0 times and tap\('branch', y\) 0 times"),
    (tapping('block'), r"tap\('block', x\) 1 times and tap\('branch', y\) 0 times: every residual"),
    (tapping('branch', 'branch', 'block'), r'1 times and .* 2 times'),
    (in_a_loop, r'taps inside of lax\.scan, jax\.checkpoint'),
    (in_a_checkpoint, r'taps inside of lax\.scan, jax\.checkpoint'),
    ('nf_resnet50', r"model='nf_resnet50' is neither a Model nor a function"),
  ],
)
def test_a_network_that_shows_nothing_is_refused(function, message):
  with pytest.raises(InputError, match=message) as raised:
    signal_propagation(function, {}, normal_images(0, 2, 4, 4, 3))
  assert '\n' not in str(raised.value)


def test_a_function_has_no_state():
  with pytest.raises(InputError, match=r'state: a function of \(params, images\) takes none'):
    signal_propagation(two_blocks, {}, normal_images(0, 2, 4, 4, 3), state={})


def test_images_are_checked_as_by_the_network():
  model = micro_model()
  params, _ = model.init(jax.random.key(0))
  with pytest.raises(InputError, match='float32 or bfloat16'):
    signal_propagation(model, params, jnp.zeros((2, 16, 16, 3), jnp.uint8))
