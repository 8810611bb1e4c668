"""One training step and one evaluation step, as one device sees them."""

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nfnets.augment.augment import Augmentation
from nfnets.augment.normalize import normalize
from nfnets.data.datasets import Dataset
from nfnets.models.zoo import Model
from nfnets.optim.clipping import ALL, clipped_fractions
from nfnets.optim.ema import update_ema
from nfnets.optim.norms import tree_norm
from nfnets.training.config import Config
from nfnets.training.derived import Derived
from nfnets.training.freezing import NOTHING, hold
from nfnets.training.gradients import NO_AUGMENTATION, Batch, make_gradient
from nfnets.training.optimizer import make_optimizer
from nfnets.training.scoring import score_batch
from nfnets.training.state import TrainState

AXIS = 'devices'
"""Name of the mapped axis over which gradients and metrics are averaged."""

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[Any, Any, Batch], Metrics]


def make_train_step(
  model: Model,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  dataset: Dataset,
  config: Config,
  *,
  augmentation: Augmentation = NO_AUGMENTATION,
  frozen: Collection[str] = NOTHING,
) -> TrainStep:
  """`step(state, batch) -> (state, metrics)` for one device of the axis `AXIS`.

  The batch is this device's part: `images` [n, S, S, 3] pixels, `labels` [n], `positions` [n] in
  the global batch; `images` [n, 2, S, S, 3] and `labels` [n, 2] where `augmentation` makes one
  example of two.  What is random for an example is a function of seed, step and position alone,
  so the result does not depend on how the batch is spread, but for the directions of SAM.

  A step whose loss, gradients, parameters or rate are not finite, or whose rate times these
  overflows, changes nothing but `step` and `bad_steps`.

  Parameters and statistics in the `frozen` places of `nfnets.optim.depths` stay bit for bit what
  they are, as do their averages, and no gradient is computed for them.
  """
  gradient_of = make_gradient(model, dataset, config, augmentation=augmentation, frozen=frozen)

  def step(old: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    rng = jax.random.fold_in(jax.random.key(config.seed), old.step)
    means, state = gradient_of(old.params, old.state, rng, batch)
    loss, accuracy, gradients = _mean_over_devices(means)
    state = hold(frozen, old.state, _mean_statistics(state))
    updates, opt_state = optimizer.update(gradients, old.opt_state, old.params)
    params = hold(frozen, old.params, optax.apply_updates(old.params, updates))
    decay = config.optimizer.ema_decay
    ema_params = update_ema(old.ema_params, params, old.step, decay)
    ema_state = update_ema(old.ema_state, state, old.step, decay)
    new = TrainState(
      step=old.step + 1,
      params=params,
      state=state,
      opt_state=opt_state,
      ema_params=hold(frozen, old.ema_params, ema_params),
      ema_state=hold(frozen, old.ema_state, ema_state),
      bad_steps=jnp.zeros_like(old.bad_steps),
    )
    figures = {
      'loss': loss,
      'learning_rate': jnp.asarray(schedule(old.step), jnp.float32),
      'gradient_norm': tree_norm(gradients),
      'parameter_norm': tree_norm(old.params),
    }
    new = _keep_if_finite(_is_finite(**figures), new, old)
    metrics = figures | {'accuracy': accuracy, 'bad_steps': new.bad_steps}
    return new, metrics | _clipped(gradients, old.params, model, config, frozen)

  return step


def make_run_step(
  config: Config, derived: Derived
) -> tuple[TrainStep, optax.GradientTransformation]:
  """The step that a run of this config takes, for one device, and the optimizer within it."""
  optimizer, schedule = make_optimizer(config, derived)
  step = make_train_step(
    derived.model,
    optimizer,
    schedule,
    derived.dataset,
    config,
    augmentation=derived.augmentation,
    frozen=derived.frozen,
  )
  return step, optimizer


def _clipped(
  gradients: Any, params: Any, model: Model, config: Config, frozen: Collection[str]
) -> Metrics:
  """The share of units that AGC clips, in all and part by part: 'clipped', 'clipped_stem', ..."""
  optimizer = config.optimizer
  if optimizer.clipping is None:
    return {}
  fractions = clipped_fractions(
    gradients,
    params,
    optimizer.clipping,
    depths=model.variant.depths,
    eps=optimizer.clip_eps,
    norm=optimizer.clip_norm,
    frozen=frozen,
  )
  return {'clipped': fractions.pop(ALL)} | {f'clipped_{k}': v for k, v in fractions.items()}


def _mean_over_devices(tree: Any) -> Any:
  # One device has nothing to average, but XLA would copy what it is asked to.
  return tree if jax.lax.axis_size(AXIS) == 1 else jax.lax.pmean(tree, AXIS)


def _mean_statistics(state: Any) -> Any:
  """Statistics are averaged; counters are the same everywhere."""

  def mean(x: jax.Array) -> jax.Array:
    return _mean_over_devices(x) if jnp.issubdtype(x.dtype, jnp.floating) else x

  return jax.tree.map(mean, state)


def _is_finite(
  *, loss: jax.Array, learning_rate: jax.Array, gradient_norm: jax.Array, parameter_norm: jax.Array
) -> jax.Array:
  """Whether a step may be taken; told by what is known before it.

  To look at the new parameters instead, all that is updated would have to be written first, then
  read again and chosen from.  The square overflows where a norm would; momentum is not counted.
  """
  reach = learning_rate * (gradient_norm + parameter_norm)
  return jnp.isfinite(loss) & jnp.isfinite(jnp.square(reach)) & jnp.isfinite(parameter_norm)


def _keep_if_finite(finite: jax.Array, new: TrainState, old: TrainState) -> TrainState:
  kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
  return kept._replace(step=new.step, bad_steps=jnp.where(finite, 0, old.bad_steps + 1))


def make_eval_step(model: Model, dataset: Dataset, precision: str) -> EvalStep:
  """`step(params, state, batch) -> sums` over all devices of the axis `AXIS`.

  The batch is this device's part of what `eval_batches` yields; the sums are `score_batch`'s.
  """

  def step(params: Any, state: Any, batch: Batch) -> Metrics:
    grey = model.in_channels == 1
    images = normalize(batch['images'], dataset.mean, dataset.std, precision, grey=grey)
    outputs, _ = model.apply(params, state, None, images)
    return jax.lax.psum(score_batch(outputs['logits'], batch, dataset.classes), AXIS)

  return step
