"""What follows from a config: the network, sizes, steps and rates, computed after all overrides."""

import dataclasses

from nfnets.data.datasets import Dataset, find_dataset
from nfnets.data.images import EvalGeometry, TrainGeometry
from nfnets.errors import InputError
from nfnets.models.zoo import Model, create_model
from nfnets.optim.schedules import peak_learning_rate
from nfnets.training.config import Config

_POSITIVE = (
  'batch_size',
  'eval_batch_size',
  'epochs',
  'log_every',
  'keep_checkpoints',
  'max_bad_steps',
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derived:
  """A run in full."""

  model: Model
  dataset: Dataset
  train_split: str
  eval_split: str
  train_geometry: TrainGeometry
  eval_geometry: EvalGeometry
  steps_per_epoch: float
  total_steps: int
  warmup_steps: float
  peak_learning_rate: float
  eval_every: int
  checkpoint_every: int


def derive(config: Config, num_examples: int) -> Derived:
  """Everything that follows from `config` and the number of training examples.

  Raises:
    InputError: a field is out of its range, or names something that does not exist.
  """
  _check(config)
  model, dataset = make_model(config), find_dataset(config.data.dataset)
  data, variant = config.data, model.variant
  steps_per_epoch = num_examples / config.batch_size
  total_steps = max(1, round(config.epochs * steps_per_epoch))
  warmup_steps = config.optimizer.warmup_epochs * steps_per_epoch
  if warmup_steps > total_steps:
    raise InputError(
      f'optimizer.warmup_epochs={config.optimizer.warmup_epochs} is more than '
      f'epochs={config.epochs}'
    )
  every_epoch = max(1, round(steps_per_epoch))
  return Derived(
    model=model,
    dataset=dataset,
    train_split=data.train_split or dataset.train_split,
    eval_split=data.eval_split or dataset.eval_split,
    train_geometry=TrainGeometry(
      size=data.train_size or variant.train_size,
      padding=data.padding,
      area=(data.min_area, 1.0),
      flip=data.flip,
    ),
    eval_geometry=EvalGeometry(size=data.test_size or variant.test_size, margin=data.eval_margin),
    steps_per_epoch=steps_per_epoch,
    total_steps=total_steps,
    warmup_steps=warmup_steps,
    peak_learning_rate=peak_learning_rate(config.optimizer.learning_rate, config.batch_size),
    eval_every=config.eval_every or every_epoch,
    checkpoint_every=config.checkpoint_every or every_epoch,
  )


def make_model(config: Config) -> Model:
  """The network of a run."""
  return create_model(
    config.model.name,
    find_dataset(config.data.dataset).num_classes,
    drop_rate=config.model.drop_rate,
    stochdepth_rate=config.model.stochdepth_rate,
    skip_gain=config.model.skip_gain,
    activation=config.model.activation,
  )


def _check(config: Config) -> None:
  for field in _POSITIVE:
    if getattr(config, field) <= 0:
      raise InputError(f'{field}={getattr(config, field)} must be positive')
  for field, value in (
    ('eval_every', config.eval_every),
    ('checkpoint_every', config.checkpoint_every),
    ('data.train_size', config.data.train_size),
    ('data.test_size', config.data.test_size),
  ):
    if value is not None and value <= 0:
      raise InputError(f'{field}={value} must be positive, or None for the usual value')
  if not 0 <= config.label_smoothing < 1:
    raise InputError(f'label_smoothing={config.label_smoothing} is not in [0, 1)')
  for field, allowed in (
    ('precision', ('float32', 'bfloat16')),
    ('mapping', ('pmap', 'shard_map')),
  ):
    if getattr(config, field) not in allowed:
      raise InputError(f'{field}={getattr(config, field)!r} is not one of {", ".join(allowed)}')
