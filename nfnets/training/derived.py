"""What follows from a config: the network, sizes, steps and rates, computed after all overrides."""

import dataclasses
import math
from collections.abc import Mapping

from nfnets.arguments import check_number
from nfnets.augment.augment import Augmentation
from nfnets.data.datasets import Dataset
from nfnets.data.folders import find_dataset
from nfnets.data.images import EvalGeometry, TrainGeometry
from nfnets.errors import InputError
from nfnets.models.execution import Execution
from nfnets.models.zoo import Model, create_model
from nfnets.optim.schedules import peak_learning_rate
from nfnets.training.config import Config, check_types, flatten
from nfnets.training.freezing import frozen_places
from nfnets.training.recipes import MAGNITUDES, WEIGHT_DECAYS

# What every number of a config must be; None, where a field may be that, is always right.
_BOUNDS: dict[str, dict[str, float]] = {
  'model.drop_rate': {'at_least': 0, 'below': 1},
  'model.stochdepth_rate': {'at_least': 0, 'below': 1},
  'model.skip_gain': {},
  'model.scan_from': {'at_least': 2},
  'data.train_size': {'at_least': 1},
  'data.test_size': {'at_least': 1},
  'data.padding': {'at_least': 0},
  'data.min_area': {'above': 0, 'at_most': 1},
  'data.eval_margin': {'at_least': 0},
  'data.threads': {'at_least': 1},
  'data.workers': {'at_least': 0},
  'data.max_bad_records': {'at_least': 0},
  'augment.mixup': {'above': 0},
  'augment.cutmix': {'above': 0},
  'augment.layers': {'at_least': 0},
  'augment.magnitude': {'at_least': 0},
  'augment.translate': {'at_least': 0},
  'augment.cutout': {'at_least': 0},
  'optimizer.learning_rate': {'above': 0},
  'optimizer.warmup_epochs': {'at_least': 0},
  'optimizer.end_learning_rate': {'at_least': 0},
  'optimizer.hold_epochs': {'at_least': 0},
  'optimizer.halving_epochs': {'above': 0},
  'optimizer.momentum': {'at_least': 0, 'below': 1},
  'optimizer.weight_decay': {'at_least': 0},
  'optimizer.clipping': {'above': 0},
  'optimizer.clip_eps': {'above': 0},
  'optimizer.sam_rho': {'above': 0},
  'optimizer.sam_share': {'above': 0, 'at_most': 1},
  'optimizer.ema_decay': {'at_least': 0, 'below': 1},
  'finetune.layer_decay': {'above': 0, 'at_most': 1},
  'batch_size': {'at_least': 1},
  'micro_batch_size': {'at_least': 1},
  'eval_batch_size': {'at_least': 1},
  'epochs': {'above': 0},
  'label_smoothing': {'at_least': 0, 'below': 1},
  'seed': {'at_least': 0, 'at_most': 2**32 - 1},
  'log_every': {'at_least': 1},
  'eval_every': {'at_least': 1},
  'checkpoint_every': {'at_least': 1},
  'keep_checkpoints': {'at_least': 1},
  'max_bad_steps': {'at_least': 1},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derived:
  """A run in full."""

  model: Model
  frozen: frozenset[str]
  """The places of the network that do not learn; see `nfnets.optim.depths`."""
  dataset: Dataset
  train_split: str
  eval_split: str
  train_geometry: TrainGeometry
  eval_geometry: EvalGeometry
  augmentation: Augmentation
  weight_decay: float
  steps_per_epoch: float
  total_steps: int
  warmup_steps: float
  peak_learning_rate: float
  eval_every: int
  checkpoint_every: int


def derive(config: Config, num_examples: int) -> Derived:
  """Everything that follows from `config` and the number of training examples.

  The last, incomplete step of the last epoch is taken as well.

  Raises:
    InputError: a field is out of its range, or names something that does not exist.
  """
  _check(config)
  model, dataset = make_model(config), find_dataset(config.data.dataset, config.data.data_dir)
  data, variant = config.data, model.variant
  steps_per_epoch = num_examples / config.batch_size
  every_epoch = max(1, round(steps_per_epoch))
  return Derived(
    model=model,
    frozen=frozen_places(model, config.finetune.freeze_to),
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
    augmentation=_augmentation(config),
    weight_decay=_published(
      'optimizer.weight_decay', config.optimizer.weight_decay, config.model.name, WEIGHT_DECAYS
    ),
    steps_per_epoch=steps_per_epoch,
    # Rounded first: 7 * 8 / 1437 epochs are 7 steps, though floats make a little more of it.
    total_steps=max(1, math.ceil(round(config.epochs * num_examples / config.batch_size, 6))),
    warmup_steps=config.optimizer.warmup_epochs * steps_per_epoch,
    peak_learning_rate=peak_learning_rate(config.optimizer.learning_rate, config.batch_size),
    eval_every=config.eval_every or every_epoch,
    checkpoint_every=config.checkpoint_every or every_epoch,
  )


def make_model(config: Config) -> Model:
  """The network of a run."""
  # In a loop over equal blocks, none of them could be frozen alone.
  scan_from = None if config.finetune.freeze_to else config.model.scan_from
  return create_model(
    config.model.name,
    find_dataset(config.data.dataset, config.data.data_dir).num_classes,
    in_channels=config.model.in_channels,
    alpha=config.model.alpha,
    drop_rate=config.model.drop_rate,
    stochdepth_rate=config.model.stochdepth_rate,
    se_ratio=config.model.se_ratio,
    skip_gain=config.model.skip_gain,
    activation=config.model.activation,
    width_factor=config.model.width_factor,
    rounding=config.model.rounding,
    standardization_dtype=config.model.standardization_dtype,
    execution=Execution(
      remat=config.model.remat,
      remat_policy=config.model.remat_policy,
      scan_from=scan_from,
      equal_blocks=config.model.equal_blocks,
    ),
  )


def check_batch(config: Config, derived: Derived, devices: int) -> None:
  """Raises `InputError` unless every device, and every micro-batch, gets equally many examples."""
  size = config.batch_size
  if size % devices:
    raise InputError(f'batch_size={size} is not a multiple of the {devices} devices')
  at_once = min(config.micro_batch_size or size, size // devices)
  if size // devices % at_once:
    raise InputError(
      f'micro_batch_size={at_once}: the {size // devices} examples of a device (batch_size={size}, '
      f'{devices} devices) are not a multiple of it'
    )
  if at_once % derived.augmentation.examples_together:
    raise InputError(
      f'augment.distinct=False mixes examples in pairs: {at_once} examples at once is an odd '
      'number; choose another batch_size or micro_batch_size'
    )


def _augmentation(config: Config) -> Augmentation:
  augment = config.augment
  magnitude = augment.magnitude
  if augment.layers:
    magnitude = _published('augment.magnitude', magnitude, config.model.name, MAGNITUDES)
  return Augmentation(
    mixup=augment.mixup,
    cutmix=augment.cutmix,
    distinct=augment.distinct,
    layers=augment.layers,
    magnitude=magnitude or 0.0,
    translate=augment.translate,
    cutout=augment.cutout,
    as_released=augment.as_released,
  )


def _published(field: str, value: float | None, name: str, table: Mapping[str, float]) -> float:
  """`value`, or what `table` has for the network."""
  if value is not None:
    return value
  if name not in table:
    raise InputError(f'{field}=None: none was published for {name}; give a number')
  return table[name]


def _check(config: Config) -> None:
  """Everything that a number of its own can be wrong in, told before anything is made."""
  check_types(config)
  values = flatten(config)
  for field, bounds in _BOUNDS.items():
    if values[field] is not None:
      check_number(field, values[field], **bounds)
  if config.model.in_channels not in (1, 3):
    raise InputError(
      f'model.in_channels={config.model.in_channels} is neither 1 (luminance) nor 3 (colours)'
    )
  if config.optimizer.schedule == 'cosine':
    _check_cosine(config)


def _check_cosine(config: Config) -> None:
  peak = peak_learning_rate(config.optimizer.learning_rate, config.batch_size)
  if config.optimizer.end_learning_rate > peak:
    raise InputError(
      f'optimizer.end_learning_rate={config.optimizer.end_learning_rate} is above the peak {peak}, '
      'which optimizer.learning_rate and batch_size make'
    )
  if config.optimizer.warmup_epochs >= config.epochs:
    raise InputError(
      f'optimizer.warmup_epochs={config.optimizer.warmup_epochs} is not less than '
      f'epochs={config.epochs}'
    )
