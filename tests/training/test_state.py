import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from micro import micro_model

from nfnets.optim import sgd_agc
from nfnets.training.state import TrainState, abstract_state, create_state

OPTIMIZER = sgd_agc(0.1)
SHARDING = jax.sharding.SingleDeviceSharding(jax.devices()[1])


@pytest.fixture(scope='module')
def state() -> TrainState:
  return create_state(micro_model(), OPTIMIZER, jax.random.key(0))


def test_a_run_starts_at_zero_with_the_averages_at_the_parameters(state: TrainState):
  assert (int(state.step), int(state.bad_steps)) == (0, 0)
  assert state.step.dtype == state.bad_steps.dtype == jnp.int32
  assert len(jax.tree.leaves(state.params)) > 10
  jax.tree.map(np.testing.assert_array_equal, state.params, state.ema_params)
  assert jax.tree.structure(state.state) == jax.tree.structure(state.ema_state)


def test_no_two_leaves_share_a_buffer(state: TrainState):
  # The state is donated, and a buffer cannot be donated twice.
  buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
  assert len(set(buffers)) == len(buffers)


def test_the_abstract_state_is_that_of_the_real_one(state: TrainState):
  abstract = abstract_state(micro_model(), OPTIMIZER, SHARDING)
  assert jax.tree.structure(abstract) == jax.tree.structure(state)
  for shape, leaf in zip(jax.tree.leaves(abstract), jax.tree.leaves(state), strict=True):
    assert isinstance(shape, jax.ShapeDtypeStruct)
    assert (shape.shape, shape.dtype, shape.sharding) == (leaf.shape, leaf.dtype, SHARDING)


@dataclasses.dataclass(frozen=True)
class Enormous:
  """Parameters that no machine could hold."""

  def init(self, rng: jax.Array):
    params = {'net': {'w': jax.random.normal(rng, (10**12,))}}
    return params, {'norm': {'mean': jnp.zeros((10**12,))}}


def test_the_abstract_state_computes_nothing():
  abstract = abstract_state(Enormous(), OPTIMIZER, SHARDING)
  assert abstract.ema_params['net']['w'].shape == (10**12,)
  assert abstract.ema_state['norm']['mean'].shape == (10**12,)
