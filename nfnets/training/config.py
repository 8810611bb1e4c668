"""What a run is: plain fields, filled by a recipe in `configs/` and by overrides on the command
line.

Nothing here is derived: `derived.derive` computes steps, rates and sizes after the last override.
"""

import dataclasses
import json
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from nfnets import names
from nfnets.errors import InputError
from nfnets.models.execution import DEFAULT_EXECUTION
from nfnets.optim.agc import Norm


@dataclasses.dataclass
class ModelConfig:
  """Which network; None stands for the variant's own value."""

  name: str = 'nfnet_f0'
  """One of `nfnets.list_models()`."""
  in_channels: int = 3
  """3 for colours; 1 for their luminance."""
  drop_rate: float | None = None
  """Dropout before the classifier."""
  stochdepth_rate: float | None = None
  """Of the last block."""
  alpha: float | None = None
  """Scale of the residual branches."""
  se_ratio: float | None = None
  """Hidden units of Squeeze-Excite as a fraction of the channels; 0 for no Squeeze-Excite."""
  skip_gain: float | None = None
  """Initial value of the SkipInit gains."""
  activation: str | None = None
  """One of `nfnets.ACTIVATIONS`."""
  width_factor: float = 1.0
  """All widths are multiplied by it."""
  rounding: Literal['code', 'paper'] | None = None
  """Of widths that are no multiple of the group width."""
  standardization_dtype: Literal['float32', 'bfloat16'] | None = None
  """What kernels are standardized in."""
  remat: Literal['block', 'stage'] | None = None
  """What is computed again in the backward pass, to save memory."""
  remat_policy: str = 'nothing'
  """What is kept all the same: one of `nfnets.models.execution.REMAT_POLICIES`."""
  scan_from: int | None = DEFAULT_EXECUTION.scan_from
  """That many equal blocks in a row are compiled once; None for never."""
  equal_blocks: Literal['loop', 'shared'] = DEFAULT_EXECUTION.equal_blocks
  """What they are then: one loop, or one function called for each, which suits TPUs."""


@dataclasses.dataclass
class DataConfig:
  """What is learnt, and how images are cut."""

  dataset: str = 'imagenet2012'
  """A row of `nfnets.data.datasets.DATASETS`, or what else lies prepared in `data_dir`."""
  data_dir: str = 'data'
  """The folder that holds prepared TFDS datasets."""
  train_split: str | None = None
  """TFDS notation, such as 'train[10000:]'; None for the dataset's own."""
  eval_split: str | None = None
  train_size: int | None = None
  """Side of the training images in pixels; None for the variant's own."""
  test_size: int | None = None
  padding: int | None = None
  """Random crops of an image padded by so many pixels, for small images; None for crops of random
  area and aspect ratio."""
  min_area: float = 0.08
  """Smallest part of an image that a random crop may show."""
  flip: bool = True
  """Mirror half of the training images."""
  eval_margin: int = 32
  """Evaluation images are resized to so many pixels more than `test_size`, then cut to it."""
  threads: int = 2
  """Decoding threads, in every process."""
  workers: int = 0
  """Decoding processes; 0 decodes in the training process."""
  max_bad_records: int = 100
  """A run that meets more unreadable records than this in one epoch stops."""


@dataclasses.dataclass
class AugmentConfig:
  """What the accelerator does to training images: they are mixed, then RandAugment.  The defaults
  leave them as they are; those of the NFNets are in `configs/nfnet.py`."""

  mixup: float | None = None
  """a of the Beta(a, a) that MixUp draws shares of; None for no MixUp."""
  cutmix: float | None = None
  """Likewise for CutMix.  With both, each has half of the examples."""
  distinct: bool = True
  """Mix with images that are seen nowhere else, two for each example; otherwise with the neighbour
  in the batch, which halves the decoding."""
  layers: int = 0
  """Operations of RandAugment on each image."""
  magnitude: float | None = None
  """Of these; None for the one published for the network."""
  translate: float = 100.0
  """Pixels by which its Translate moves an image at magnitude 10, made for ImageNet."""
  cutout: float = 40.0
  """Pixels from the centre of its Cutout's box to the sides at magnitude 10, likewise."""
  as_released: bool = False
  """Solarize and Contrast as in the released code, not as defined."""


@dataclasses.dataclass
class OptimizerConfig:
  """SGD with adaptive gradient clipping, as in appendix A.1 of arXiv 2102.06171."""

  learning_rate: float = 0.1
  """Peak, for every 256 examples of the batch."""
  schedule: Literal['cosine', 'halving'] = 'cosine'
  """After a linear warm-up half a cosine; or constant, then halved again and again."""
  warmup_epochs: float = 5.0
  """Of 'cosine'."""
  end_learning_rate: float = 0.0
  """Of 'cosine'."""
  hold_epochs: float = 100.0
  """Of 'halving': before the rate is halved for the first time."""
  halving_epochs: float = 10.0
  """Of 'halving': between two of them."""
  momentum: float = 0.9
  nesterov: bool = True
  weight_decay: float | None = 2e-5
  """None for the one published for the network."""
  clipping: float | None = 0.01
  """Largest norm of a gradient, as a multiple of its parameter's norm; None switches AGC off."""
  clip_eps: float = 1e-3
  """Norm below which a parameter counts as this large."""
  clip_norm: Norm = 'unit'
  sam_rho: float | None = None
  """Distance at which SAM takes the gradient (arXiv 2010.01412); None switches SAM off."""
  sam_share: float = 0.2
  """Of the batch, from which SAM takes the direction; 1 for all of it.  Every device, and every
  micro-batch, has a direction of its own."""
  ema_decay: float = 0.99999
  """Of the average of the parameters."""


@dataclasses.dataclass
class FineTuneConfig:
  """From where a run starts, and what of it stays.  The defaults train a network from scratch."""

  weights: str | None = None
  """A file of weights, whose network may have another head; needed at the start of a run only.
  None for those that `source` released."""
  source: Literal['deepmind', 'timm'] | None = None
  """Whose weights of `model.name` are downloaded, where `weights` names no file."""
  new_head: bool = True
  """Start with a fresh classifier; otherwise with that of the weights."""
  channels: Literal['sum', 'mean'] | None = None
  """What becomes of the first kernels where `model.in_channels` is not that of the weights."""
  freeze_to: str | None = None
  """The part of the network that stays as it is, from the images to this feature: 'stem',
  'block_0', ..., 'stage_0', ..., or 'neck', after which only the head learns.  Batch normalization
  there uses its averages, as in evaluation."""
  layer_decay: float | None = None
  """Learning rate of a block as a multiple of the next one's; that of the head is the optimizer's.
  None for one rate for all."""


@dataclasses.dataclass
class Config:
  """A whole run."""

  model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
  optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
  finetune: FineTuneConfig = dataclasses.field(default_factory=FineTuneConfig)
  batch_size: int = 4096
  """Examples in one step, over all devices and hosts."""
  micro_batch_size: int | None = None
  """Examples that a device takes at once.  If its part of the batch is larger, it is taken in
  pieces, whose gradients are averaged: the same step in less memory.  None for all at once."""
  eval_batch_size: int = 1024
  epochs: float = 360.0
  label_smoothing: float = 0.1
  seed: int = 0
  precision: Literal['float32', 'bfloat16'] = 'bfloat16'
  """Of activations and their gradients; parameters, optimizer and logits are float32."""
  mapping: Literal['pmap', 'shard_map'] = 'pmap'
  """How a step is spread over devices."""
  log_every: int = 100
  """Steps between two lines of metrics; every checkpoint has one, too."""
  eval_every: int | None = None
  """Steps between two evaluations; None for every epoch."""
  checkpoint_every: int | None = None
  """Steps between two checkpoints; None for every epoch."""
  keep_checkpoints: int = 2
  max_bad_steps: int = 10
  """So many steps in a row without finite numbers stop the run."""
  compilation_cache: str | None = None
  """A folder of your own where compiled programs are kept, so that the run starts sooner the next
  time; None for none but what the environment of JAX says."""


# What may differ when a run is taken up again: beyond rounding none of these changes a result.
FREE_TO_CHANGE = {
  'data.data_dir',
  'data.threads',
  'data.workers',
  'data.max_bad_records',
  'finetune.weights',
  'eval_batch_size',
  'mapping',
  'log_every',
  'eval_every',
  'checkpoint_every',
  'keep_checkpoints',
  'max_bad_steps',
  'compilation_cache',
}

# What the processes of one run may have each for itself.
MAY_DIFFER = {
  'data.data_dir',
  'data.threads',
  'data.workers',
  'finetune.weights',
  'compilation_cache',
}


def flatten(config: Any, prefix: str = '') -> dict[str, Any]:
  """Every field of a config under its dotted name: `optimizer.momentum` -> 0.9."""
  flat: dict[str, Any] = {}
  for field in dataclasses.fields(config):
    value, name = getattr(config, field.name), prefix + field.name
    flat |= flatten(value, f'{name}.') if dataclasses.is_dataclass(value) else {name: value}
  return flat


def differences(old: Config, new: Config) -> list[str]:
  """One line for each field that makes `new` another run than `old`."""
  before, after = flatten(old), flatten(new)
  return [
    f'{name}: {before[name]!r} -> {after[name]!r}'
    for name in before
    if before[name] != after[name] and name not in FREE_TO_CHANGE
  ]


def to_json(config: Config) -> str:
  """The config as indented JSON."""
  return json.dumps(dataclasses.asdict(config), indent=2) + '\n'


def from_json(text: str) -> Config:
  """The config that `to_json` wrote.

  Raises:
    InputError: the text is no JSON object, has a field that a config lacks, or a value of a wrong
      type.
  """
  try:
    values = json.loads(text)
  except json.JSONDecodeError as error:
    raise InputError(f'this config is no JSON: {error}') from error
  config = _fill(Config(), values)
  check_types(config)
  return config


def check_types(config: Any, prefix: str = '') -> None:
  """Raises `InputError` for a field whose value is not of the type that it declares."""
  hints = get_type_hints(type(config))
  for field in dataclasses.fields(config):
    value, name = getattr(config, field.name), prefix + field.name
    types = _alternatives(hints[field.name])
    if dataclasses.is_dataclass(value) and type(value) in types:
      check_types(value, f'{name}.')
    elif not any(_fits(value, one) for one in types):
      raise InputError(f'{name}={value!r} is not {" or ".join(map(_named, types))}')


def _alternatives(hint: Any) -> tuple[Any, ...]:
  return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
  if get_origin(hint) is Literal:
    return value in get_args(hint)
  if isinstance(value, bool):  # which Python counts among the integers
    return hint is bool
  return isinstance(value, (int, float) if hint is float else hint)


def _named(hint: Any) -> str:
  if get_origin(hint) is Literal:
    return f'one of {", ".join(get_args(hint))}'
  names: dict[Any, str] = {
    str: 'text',
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number',
  }
  return 'None' if hint is NoneType else names.get(hint, str(hint.__name__))


def _fill(config: Any, values: Any, prefix: str = '') -> Any:
  if not isinstance(values, Mapping):
    raise InputError(f'config.{prefix.rstrip(".") or "*"}={values!r}: expected an object')
  fields = {field.name: field for field in dataclasses.fields(config)}
  for name, value in values.items():
    names.look_up(name, fields, argument=f'the field config.{prefix}*')
    old = getattr(config, name)
    nested = dataclasses.is_dataclass(old)
    setattr(config, name, _fill(old, value, f'{prefix}{name}.') if nested else value)
  return config
