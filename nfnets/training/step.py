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
from nfnets.optim.ema import update_ema
from nfnets.optim.native_update import Rule
from nfnets.training.config import Config
from nfnets.training.derived import Derived
from nfnets.training.freezing import NOTHING, hold
from nfnets.training.gradients import NO_AUGMENTATION, Batch, make_gradient
from nfnets.training.kernel_update import make_rule, with_kernels
from nfnets.training.optimizer import make_optimizer
from nfnets.training.scoring import score_batch
from nfnets.training.state import TrainState
from nfnets.training.update import Before, keep_unless, make_update

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
  rule: Rule | None = None,
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

  With a `rule`, which says of the optimizer what `make_rule` does, the kernels for CPUs take the
  update while they are in use.
  """
  gradient_of = make_gradient(model, dataset, config, augmentation=augmentation, frozen=frozen)
  depths, decay = model.variant.depths, config.optimizer.ema_decay
  update = make_update(optimizer, schedule, config.optimizer, depths=depths, frozen=frozen)
  if rule is not None:
    update = with_kernels(update, rule, schedule, max_ema_decay=decay, depths=depths)

  def step(old: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    rng = jax.random.fold_in(jax.random.key(config.seed), old.step)
    means, state = gradient_of(old.params, old.state, rng, batch)
    loss, accuracy, gradients = _mean_over_devices(means)
    before = Before(old.step, old.params, old.opt_state, old.ema_params, gradients, loss)
    new = update(before)
    statistics = hold(frozen, old.state, _mean_statistics(state))
    averages = hold(frozen, old.ema_state, update_ema(old.ema_state, statistics, old.step, decay))
    bad_steps = jnp.where(new.taken, 0, old.bad_steps + 1)
    after = TrainState(
      step=old.step + 1,
      params=new.params,
      state=keep_unless(new.taken, statistics, old.state),
      opt_state=new.opt_state,
      ema_params=new.ema_params,
      ema_state=keep_unless(new.taken, averages, old.ema_state),
      bad_steps=bad_steps,
    )
    figures = {'loss': loss, 'accuracy': accuracy, 'bad_steps': bad_steps}
    return after, figures | new.figures

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
    rule=make_rule(config, derived),
  )
  return step, optimizer


def _mean_over_devices(tree: Any) -> Any:
  # One device has nothing to average, but XLA would copy what it is asked to.
  return tree if jax.lax.axis_size(AXIS) == 1 else jax.lax.pmean(tree, AXIS)


def _mean_statistics(state: Any) -> Any:
  """Statistics are averaged; counters are the same everywhere."""

  def mean(x: jax.Array) -> jax.Array:
    return _mean_over_devices(x) if jnp.issubdtype(x.dtype, jnp.floating) else x

  return jax.tree.map(mean, state)


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
