import dataclasses
import json

import pytest

from nfnets.errors import InputError
from nfnets.training.config import (
  FREE_TO_CHANGE,
  AugmentConfig,
  Config,
  DataConfig,
  FineTuneConfig,
  ModelConfig,
  OptimizerConfig,
  check_types,
  differences,
  flatten,
  from_json,
  to_json,
)

UNUSUAL = Config(
  model=ModelConfig(name='nfnet_f3_plus', drop_rate=0.5, activation='silu'),
  data=DataConfig(dataset='digits', padding=2, flip=False),
  optimizer=OptimizerConfig(learning_rate=1e-7, clipping=None),
  finetune=FineTuneConfig(source='timm', new_head=False, channels='mean', layer_decay=0.7),
  epochs=2,
  eval_every=7,
)


def test_flatten_has_every_field_under_its_dotted_name():
  flat = flatten(Config())
  assert flat['optimizer.momentum'] == 0.9
  assert flat['batch_size'] == 4096
  parts = (ModelConfig, DataConfig, AugmentConfig, OptimizerConfig, FineTuneConfig)
  inside = sum(len(dataclasses.fields(part)) for part in parts)
  assert len(flat) == inside + len(dataclasses.fields(Config)) - len(parts)


def test_a_config_does_not_share_its_parts_with_another():
  changed = Config()
  changed.optimizer.momentum = 0.5
  assert Config().optimizer.momentum == 0.9


def test_differences_name_each_field_with_both_values():
  assert differences(Config(), Config()) == []
  assert differences(Config(), Config(seed=3, model=ModelConfig(name='nfnet_f1'))) == [
    "model.name: 'nfnet_f0' -> 'nfnet_f1'",
    'seed: 0 -> 3',
  ]


@pytest.mark.parametrize('name', sorted(flatten(Config())))
def test_a_field_makes_another_run_unless_it_is_free_to_change(name: str):
  changed = Config()
  part: object = changed
  *path, field = name.split('.')
  for step in path:
    part = getattr(part, step)
  setattr(part, field, 'something else')
  assert bool(differences(Config(), changed)) != (name in FREE_TO_CHANGE)


def test_every_field_that_is_free_to_change_exists():
  assert flatten(Config()).keys() >= FREE_TO_CHANGE


@pytest.mark.parametrize('config', [Config(), UNUSUAL])
def test_json_brings_a_config_back(config: Config):
  assert from_json(to_json(config)) == config


def test_a_field_that_the_json_lacks_keeps_its_default():
  assert from_json('{"optimizer": {"momentum": 0.5}}') == Config(
    optimizer=OptimizerConfig(momentum=0.5)
  )


def test_a_config_from_before_fine_tuning_trains_from_scratch():
  old = json.loads(to_json(Config(seed=3)))
  del old['finetune'], old['model']['in_channels']
  assert differences(from_json(json.dumps(old)), Config(seed=3)) == []


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{"batch_size": 8', '^this config is no JSON: '),
    ('', '^this config is no JSON: '),
    ('[1]', r'^config\.\*=\[1\]: expected an object$'),
    ('{"model": "nfnet_f0"}', r"^config\.model='nfnet_f0': expected an object$"),
    (
      '{"batch_sise": 8}',
      r"^the field config\.\*='batch_sise' is not known: did you mean batch_size, eval_batch_size",
    ),
    (
      '{"optimizer": {"momentun": 1}}',
      r"^the field config\.optimizer\.\*='momentun' is not known: did you mean momentum\?",
    ),
    ('{"batch_size": "8"}', r"^batch_size='8' is not a whole number$"),
  ],
)
def test_a_wrong_json_is_told_by_the_name_of_the_field(text: str, message: str):
  with pytest.raises(InputError, match=message):
    from_json(text)


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'batch_size': 8.0}, r'^batch_size=8\.0 is not a whole number$'),
    ({'batch_size': True}, r'^batch_size=True is not a whole number$'),
    ({'epochs': None}, r'^epochs=None is not a number$'),
    ({'eval_every': 'x'}, r"^eval_every='x' is not a whole number or None$"),
    ({'precision': 'float16'}, r"^precision='float16' is not one of float32, bfloat16$"),
    ({'mapping': 'pmapp'}, r"^mapping='pmapp' is not one of pmap, shard_map$"),
    ({'model': None}, r'^model=None is not ModelConfig$'),
    (
      {'finetune': FineTuneConfig(source='torch')},
      r"^finetune\.source='torch' is not one of deepmind, timm or None$",
    ),
    (
      {'finetune': FineTuneConfig(channels='max')},
      r"^finetune\.channels='max' is not one of sum, mean or None$",
    ),
    ({'data': DataConfig(flip=1)}, r'^data\.flip=1 is not true or false$'),
    ({'model': ModelConfig(name=3)}, r'^model\.name=3 is not text$'),
    (
      {'optimizer': OptimizerConfig(clip_norm='rows')},
      r"^optimizer\.clip_norm='rows' is not one of unit, layer, global$",
    ),
  ],
)
def test_a_value_of_a_wrong_type_is_named(values: dict, message: str):
  with pytest.raises(InputError, match=message):
    check_types(Config(**values))


def test_whole_numbers_may_stand_for_others():
  check_types(Config(epochs=3, optimizer=OptimizerConfig(clipping=1, warmup_epochs=0)))
  assert json.loads(to_json(Config(epochs=3)))['epochs'] == 3
