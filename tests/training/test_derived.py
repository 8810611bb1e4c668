import importlib
from pathlib import Path

import pytest

from nfnets.augment.augment import Augmentation
from nfnets.errors import InputError
from nfnets.models.execution import Execution
from nfnets.training.config import (
  AugmentConfig,
  Config,
  DataConfig,
  FineTuneConfig,
  ModelConfig,
  OptimizerConfig,
)
from nfnets.training.derived import derive

IMAGENET = 1_281_167
RECIPES = sorted(file.stem for file in (Path(__file__).parents[2] / 'configs').glob('*.py'))


def test_the_defaults_are_the_papers_run_of_f0():
  # arXiv 2102.06171, appendix A.1 and table 1.
  derived = derive(Config(), IMAGENET)
  assert derived.steps_per_epoch == pytest.approx(312.785, abs=1e-3)
  assert derived.total_steps == 112_603
  assert derived.warmup_steps == pytest.approx(1563.92, abs=1e-2)
  assert derived.peak_learning_rate == 1.6
  assert (derived.eval_every, derived.checkpoint_every) == (313, 313)
  assert (derived.train_split, derived.eval_split) == ('train', 'validation')
  assert derived.train_geometry.size == 192
  assert derived.train_geometry.area == (0.08, 1.0)
  assert derived.train_geometry.padding is None
  assert derived.train_geometry.flip
  assert (derived.eval_geometry.size, derived.eval_geometry.margin) == (256, 32)
  assert derived.model.name == 'nfnet_f0'
  assert derived.model.num_classes == 1000
  assert derived.model.variant.drop_rate == 0.2
  assert derived.model.variant.stochdepth_rate == 0.25


@pytest.mark.parametrize(
  ('name', 'train', 'test', 'drop_rate'),
  [('nfnet_f1', 224, 320, 0.3), ('nfnet_f4', 384, 512, 0.5), ('nfnet_f6_plus', 448, 576, 0.5)],
)
def test_sizes_and_dropout_follow_the_variant(name: str, train: int, test: int, drop_rate: float):
  config = Config()
  config.model.name = name  # as an override does, after the recipe was filled
  derived = derive(config, IMAGENET)
  assert derived.train_geometry.size == train
  assert derived.eval_geometry.size == test
  assert derived.model.variant.drop_rate == drop_rate


@pytest.mark.parametrize(
  ('name', 'magnitude'),
  [('nfnet_f0', 5), ('nfnet_f2', 10), ('nfnet_f3', 15), ('nfnet_f7_plus', 15)],
)
def test_the_magnitude_follows_the_variant(name: str, magnitude: float):
  """arXiv 2102.06171, appendix A.3."""
  config = Config(augment=AugmentConfig(mixup=0.2, cutmix=1.0, layers=4))
  config.model.name = name
  assert derive(config, IMAGENET).augmentation == Augmentation(magnitude=magnitude)
  config.augment.magnitude = 7
  assert derive(config, IMAGENET).augmentation.magnitude == 7


def test_the_weight_decay_follows_the_variant():
  config = Config(optimizer=OptimizerConfig(weight_decay=None))
  for name, decay in (('nfnet_f5', 2e-5), ('nf_regnet_b0', 5e-5), ('nf_regnet_b3', 8e-5)):
    config.model.name = name
    assert derive(config, IMAGENET).weight_decay == decay


@pytest.mark.parametrize(
  'config',
  [
    Config(model=ModelConfig(name='resnet50'), augment=AugmentConfig(layers=2)),
    Config(model=ModelConfig(name='resnet50'), optimizer=OptimizerConfig(weight_decay=None)),
  ],
)
def test_what_was_not_published_must_be_given(config: Config):
  with pytest.raises(InputError, match='=None: none was published for resnet50; give a number'):
    derive(config, IMAGENET)


def test_a_rate_that_ends_above_its_peak_is_refused():
  with pytest.raises(InputError, match=r'end_learning_rate=0.5 is above the peak 0.1'):
    derive(Config(batch_size=256, optimizer=OptimizerConfig(end_learning_rate=0.5)), IMAGENET)


def test_a_field_that_is_set_stands_above_the_variant():
  derived = derive(
    Config(
      model=ModelConfig(drop_rate=0.0, stochdepth_rate=0.1, skip_gain=1.0, activation='silu'),
      data=DataConfig(
        train_size=64, test_size=96, padding=4, min_area=0.25, flip=False, eval_margin=0,
        train_split='train[10000:]', eval_split='train[:10000]',
      ),
      eval_every=7,
      checkpoint_every=11,
    ),
    IMAGENET,
  )  # fmt: skip
  variant = derived.model.variant
  assert (variant.drop_rate, variant.stochdepth_rate) == (0.0, 0.1)
  assert (variant.skip_gain, variant.activation) == (1.0, 'silu')
  geometry = derived.train_geometry
  assert (geometry.size, geometry.padding, geometry.area, geometry.flip) == (
    64,
    4,
    (0.25, 1),
    False,
  )
  assert (derived.eval_geometry.size, derived.eval_geometry.margin) == (96, 0)
  assert (derived.train_split, derived.eval_split) == ('train[10000:]', 'train[:10000]')
  assert (derived.eval_every, derived.checkpoint_every) == (7, 11)


def test_rate_and_steps_follow_the_batch():
  derived = derive(Config(batch_size=1024, epochs=90), IMAGENET)
  assert derived.peak_learning_rate == 0.4
  assert derived.total_steps == 112_603
  assert derived.warmup_steps == pytest.approx(6255.7, abs=0.1)


def test_a_run_of_whole_epochs_has_no_step_more():
  config = Config(batch_size=10, epochs=3, optimizer=OptimizerConfig(warmup_epochs=0.1))
  assert derive(config, 70).total_steps == 21
  assert derive(config, 71).total_steps == 22


@pytest.mark.parametrize('steps', range(1, 50))
def test_steps_given_as_a_fraction_of_an_epoch_are_that_many(steps: int):
  config = Config(batch_size=8, epochs=steps * 8 / 1437, optimizer=OptimizerConfig(warmup_epochs=0))
  assert derive(config, 1437).total_steps == steps


@pytest.mark.parametrize(('epochs', 'num_examples'), [(1.4, 64), (0.01, 200), (1.4, 10**6)])
def test_however_short_a_run_there_is_a_step_after_the_warmup(epochs: float, num_examples: int):
  config = Config(batch_size=64, epochs=epochs)
  config.optimizer.warmup_epochs = 0.99 * epochs
  derived = derive(config, num_examples)
  assert derived.total_steps >= 1
  assert derived.total_steps > derived.warmup_steps
  assert derived.eval_every >= 1


@pytest.mark.parametrize(
  ('field', 'value', 'right'),
  [
    ('batch_size', 0, '>= 1'),
    ('eval_batch_size', -8, '>= 1'),
    ('epochs', 0, '> 0'),
    ('epochs', float('nan'), '> 0'),
    ('epochs', float('inf'), '> 0'),
    ('log_every', 0, '>= 1'),
    ('eval_every', 0, '>= 1'),
    ('checkpoint_every', -1, '>= 1'),
    ('keep_checkpoints', 0, '>= 1'),
    ('max_bad_steps', 0, '>= 1'),
    ('label_smoothing', 1.0, '>= 0 and < 1'),
    ('seed', -1, '>= 0 and <= 4294967295'),
    ('seed', 2**32, '>= 0 and <= 4294967295'),
    ('model.skip_gain', float('nan'), ''),
    ('model.drop_rate', 1.0, '>= 0 and < 1'),
    ('model.stochdepth_rate', -0.1, '>= 0 and < 1'),
    ('data.train_size', 0, '>= 1'),
    ('data.test_size', -1, '>= 1'),
    ('data.padding', -1, '>= 0'),
    ('data.min_area', 1.5, '> 0 and <= 1'),
    ('data.eval_margin', -1, '>= 0'),
    ('data.threads', 0, '>= 1'),
    ('data.workers', -1, '>= 0'),
    ('data.max_bad_records', -1, '>= 0'),
    ('optimizer.learning_rate', 0.0, '> 0'),
    ('optimizer.warmup_epochs', -1.0, '>= 0'),
    ('optimizer.momentum', 1.5, '>= 0 and < 1'),
    ('optimizer.weight_decay', -1e-5, '>= 0'),
    ('optimizer.clipping', 0.0, '> 0'),
    ('optimizer.clip_eps', 0.0, '> 0'),
    ('optimizer.ema_decay', 1.0, '>= 0 and < 1'),
    ('optimizer.sam_rho', 0.0, '> 0'),
    ('optimizer.sam_share', 1.5, '> 0 and <= 1'),
    ('micro_batch_size', 0, '>= 1'),
    ('augment.mixup', 0.0, '> 0'),
    ('finetune.layer_decay', 0.0, '> 0 and <= 1'),
    ('finetune.layer_decay', 1.5, '> 0 and <= 1'),
  ],
)
def test_a_number_out_of_its_range_is_named(field: str, value: float, right: str):
  config = Config()
  *path, name = field.split('.')
  setattr(getattr(config, path[0]) if path else config, name, value)
  with pytest.raises(
    InputError, match=f'^{field}={value}: must be one finite number {right}'.rstrip() + '$'
  ):
    derive(config, IMAGENET)


@pytest.mark.parametrize(
  ('config', 'message'),
  [
    (Config(epochs=5), r'^optimizer\.warmup_epochs=5\.0 is not less than epochs=5$'),
    (Config(epochs=3), r'^optimizer\.warmup_epochs=5\.0 is not less than epochs=3$'),
    (Config(precision='float16'), "^precision='float16' is not one of float32, bfloat16$"),
    (Config(mapping='pmapp'), "^mapping='pmapp' is not one of pmap, shard_map$"),
    (Config(batch_size='64'), "^batch_size='64' is not a whole number$"),
    (Config(model=ModelConfig(name='nfnet_f9')), "^model='nfnet_f9' is not known: did you mean "),
    (Config(model=ModelConfig(activation='swich')), 'swich'),
    (Config(model=ModelConfig(in_channels=2)), r'^model\.in_channels=2 is neither 1 .* nor 3'),
    (
      Config(finetune=FineTuneConfig(freeze_to='stage4')),
      "^finetune.freeze_to='stage4' is not known: did you mean stage_3, stage_2, stage_1",
    ),
    (Config(data=DataConfig(dataset='digitz')), "'digitz': did you mean digits"),
  ],
)
def test_what_does_not_exist_is_named(config: Config, message: str):
  with pytest.raises(InputError, match=message):
    derive(config, IMAGENET)


def test_what_is_frozen_follows_the_network():
  config = Config(finetune=FineTuneConfig(freeze_to='stage_0'))
  derived = derive(config, IMAGENET)
  assert derived.frozen == {'stem', 'block_0', 'stage_0'}
  assert derived.model.execution.scan_from is None  # a loop over blocks could not freeze some
  config.finetune.freeze_to = None
  derived = derive(config, IMAGENET)
  assert not derived.frozen
  assert derived.model.execution.scan_from == config.model.scan_from
  config.model.scan_from, config.model.equal_blocks = 5, 'shared'
  assert derive(config, IMAGENET).model.execution == Execution(scan_from=5, equal_blocks='shared')


def test_a_network_may_see_one_channel():
  assert derive(Config(model=ModelConfig(in_channels=1)), IMAGENET).model.in_channels == 1


def test_there_are_recipes():
  assert 'quickstart' in RECIPES


@pytest.mark.parametrize('name', RECIPES)
def test_every_recipe_resolves(name: str):
  config = importlib.import_module(f'configs.{name}').get_config()
  assert derive(config, 50_000).total_steps > 0


@pytest.mark.parametrize(
  ('name', 'source'), [('nfnet_f0', 'deepmind'), ('nfnet_f6', 'deepmind'), ('eca_nfnet_l0', 'timm')]
)
def test_fine_tuning_begins_with_what_was_released_of_the_network(name: str, source: str):
  config = importlib.import_module('configs.finetune').get_config(name)
  assert derive(config, 2560).model.name == name
  assert (config.finetune.source, config.finetune.weights) == (source, None)
