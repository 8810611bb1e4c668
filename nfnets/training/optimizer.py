"""The optimizer of a run, made from its config."""

import optax

from nfnets.optim.optimizers import sgd_agc
from nfnets.optim.schedules import hold_and_halve, warmup_cosine
from nfnets.training.config import Config
from nfnets.training.derived import Derived


def make_optimizer(
  config: Config, derived: Derived
) -> tuple[optax.GradientTransformation, optax.Schedule]:
  """The optimizer of a run, and the learning rate that it follows."""
  optimizer = config.optimizer
  schedule = make_schedule(config, derived)
  transform = sgd_agc(
    schedule,
    momentum=optimizer.momentum,
    nesterov=optimizer.nesterov,
    weight_decay=derived.weight_decay,
    clipping=optimizer.clipping,
    clip_eps=optimizer.clip_eps,
    clip_norm=optimizer.clip_norm,
    layer_decay=config.finetune.layer_decay,
    frozen=derived.frozen,
  )
  return transform, schedule


def make_schedule(config: Config, derived: Derived) -> optax.Schedule:
  """The learning rate of a run, by step."""
  if config.optimizer.schedule == 'halving':
    return hold_and_halve(
      derived.peak_learning_rate,
      hold_steps=config.optimizer.hold_epochs * derived.steps_per_epoch,
      halving_steps=config.optimizer.halving_epochs * derived.steps_per_epoch,
    )
  return warmup_cosine(
    derived.peak_learning_rate,
    warmup_steps=derived.warmup_steps,
    total_steps=derived.total_steps,
    end=config.optimizer.end_learning_rate,
  )
