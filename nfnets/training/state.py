"""Everything that a step changes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nfnets.models.zoo import Model, Params, State


class TrainState(NamedTuple):
  """The state of a run after `step` steps; a checkpoint holds this and nothing else."""

  step: jax.Array
  """int32, the number of steps taken."""
  params: Any
  state: Any
  """What a network keeps beside its parameters; empty for normalizer-free networks."""
  opt_state: Any
  ema_params: Any
  """Moving average of the parameters."""
  ema_state: Any
  bad_steps: jax.Array
  """int32, how many steps in a row changed nothing because a number was not finite."""


def abstract_state(
  model: Model, optimizer: optax.GradientTransformation, sharding: jax.sharding.Sharding
) -> TrainState:
  """Shapes and dtypes of a state that lies on devices as `sharding` says; computes nothing."""
  shapes = jax.eval_shape(lambda rng: create_state(model, optimizer, rng), jax.random.key(0))
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def create_state(
  model: Model,
  optimizer: optax.GradientTransformation,
  rng: jax.Array,
  *,
  start: tuple[Params, State] | None = None,
) -> TrainState:
  """The state before the first step.

  Args:
    model: the network.
    optimizer: of the run.
    rng: a key for fresh parameters.
    start: parameters and network state to begin with in place of fresh ones.
  """
  params, state = model.init(rng) if start is None else start
  # Every leaf is an array of its own: the state is donated, and no buffer may be given twice.
  ema_params, ema_state = jax.tree.map(jnp.copy, (params, state))
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    state=state,
    opt_state=optimizer.init(params),
    ema_params=ema_params,
    ema_state=ema_state,
    bad_steps=jnp.zeros((), jnp.int32),
  )
