"""Batch normalization, held against Haiku's."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nfnets
from nfnets.models.layers import Mode
from nfnets.models.normalization import BatchNorm

IMAGES = [np.random.default_rng(i).normal(2, 3, (4, 5, 6, 8)).astype(np.float32) for i in range(4)]


def mode(is_training: bool) -> Mode:
  return Mode(is_training, jnp.arange(4))


OURS = hk.transform_with_state(lambda x, training: BatchNorm(name='bn')(x, mode(training)))
HAIKUS = hk.transform_with_state(
  lambda x, training: hk.BatchNorm(True, True, decay_rate=0.9, name='bn')(x, training)
)


def test_training_and_evaluation_are_those_of_haiku() -> None:
  """Outputs, moving averages and names, over three batches and then in evaluation."""
  params, state = HAIKUS.init(None, IMAGES[0], True)
  params = jax.tree.map(lambda x: x + np.linspace(-0.5, 0.5, 8, dtype=np.float32), params)
  our_params, our_state = OURS.init(None, IMAGES[0], True)
  assert jax.tree.structure(our_params) == jax.tree.structure(params)
  assert jax.tree.structure(our_state) == jax.tree.structure(state)
  for x in IMAGES[:3]:
    wanted, state = HAIKUS.apply(params, state, None, x, True)
    found, our_state = OURS.apply(params, our_state, None, x, True)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), our_state, state)
  wanted, _ = HAIKUS.apply(params, state, None, IMAGES[3], False)
  found, unchanged = OURS.apply(params, our_state, None, IMAGES[3], False)
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
  jax.tree.map(np.testing.assert_array_equal, unchanged, our_state)


def test_a_fresh_network_evaluates_with_mean_0_and_variance_1() -> None:
  params, state = OURS.init(None, IMAGES[0], True)
  y, _ = OURS.apply(params, state, None, IMAGES[0], False)
  np.testing.assert_allclose(y, IMAGES[0], rtol=1e-4)


def test_bfloat16_keeps_statistics_in_float32() -> None:
  params, state = OURS.init(None, IMAGES[0], True)
  y, state = OURS.apply(params, state, None, jnp.asarray(IMAGES[0], jnp.bfloat16), True)
  assert y.dtype == jnp.bfloat16
  assert {x.dtype for x in jax.tree.leaves(state)} == {jnp.dtype('float32'), jnp.dtype('int32')}
  mean = state['bn/~/mean_ema']['average'].ravel()
  np.testing.assert_allclose(mean, IMAGES[0].mean((0, 1, 2)), rtol=1e-2)


@pytest.mark.parametrize('name', ['resnet50', 'resnet50_v1'])
def test_fresh_state_is_that_of_no_data_and_training_moves_it(name: str) -> None:
  model = nfnets.create_model(name, 10)
  params, state = jax.eval_shape(model.init, jax.random.key(0))
  images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
  train = lambda p, s, x: model.apply(p, s, jax.random.key(0), x, is_training=True)  # noqa: E731
  outputs, new = jax.eval_shape(train, params, state, images)
  assert outputs['logits'].shape == (2, 10)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(
    lambda x: (x.shape, x.dtype), state
  )


@pytest.mark.slow
def test_the_post_activation_network_computes() -> None:
  """Evaluation of a fresh network is finite and does not depend on the rest of the batch."""
  model = nfnets.create_model('resnet50_v1', 0)
  params, state = model.init(jax.random.key(0))
  images = np.random.default_rng(0).normal(size=(2, 33, 47, 3)).astype(np.float32)
  apply = jax.jit(lambda x: model.apply(params, state, None, x)[0]['pool'])
  pool = apply(images)
  assert pool.shape == (2, 2048)
  assert np.isfinite(pool).all()
  assert np.std(pool) > 0
  other = images.copy()
  other[1] = 0
  np.testing.assert_array_equal(apply(other)[0], pool[0])
