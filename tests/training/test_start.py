"""Runs that begin with weights from elsewhere."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from micro import batchnorm_model

from nfnets import create_model
from nfnets.errors import InputError
from nfnets.loading import save_weights
from nfnets.models.variants import VARIANTS
from nfnets.models.zoo import Model
from nfnets.training import start as start_module
from nfnets.training.checkpointing import Checkpoints
from nfnets.training.config import Config, FineTuneConfig, ModelConfig
from nfnets.training.derived import derive, make_model
from nfnets.training.loop import Outcome, train
from nfnets.training.optimizer import make_optimizer
from nfnets.training.parallel import make_mapping
from nfnets.training.start import load_start
from nfnets.training.state import TrainState, abstract_state, create_state
from nfnets.training.workdir import checkpoint_folder

NAME = 'wide_resnet_micro'
HEAD = 'WideResNet/~/linear'
STEM = 'WideResNet/~/initial_conv'


@pytest.fixture(autouse=True)
def _in_the_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
  """For a while only: tests elsewhere compare the whole zoo with what is written of it."""
  monkeypatch.setitem(VARIANTS, NAME, batchnorm_model().variant)


@dataclasses.dataclass(frozen=True)
class Saved:
  """Weights of a network of seven classes, and the file that holds them."""

  file: Path
  params: Any
  state: Any


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
  model = create_model(NAME, 7)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  rng = np.random.default_rng(0)
  params, state = jax.tree.map(
    lambda x: (
      rng.uniform(0.1, 0.2, x.shape).astype(np.float32)
      if x.dtype == np.float32
      else np.asarray(5, x.dtype)
    ),
    shapes,
  )
  save_weights(tmp_path / 'seven.safetensors', model, params, state)
  return Saved(tmp_path / 'seven.safetensors', params, state)


@pytest.fixture
def tuned(short_config: Config, saved: Saved) -> Config:
  """One step of which only the head would learn, of ten classes."""
  config = copy.deepcopy(short_config)
  config.model = ModelConfig(name=NAME)
  config.finetune = FineTuneConfig(weights=str(saved.file), freeze_to='neck')
  config.epochs = 32 / 96
  config.optimizer.warmup_epochs = 0.1
  return config


def restore(config: Config, workdir: Path) -> TrainState:
  derived = derive(config, 96)
  optimizer, _ = make_optimizer(config, derived)
  like = abstract_state(derived.model, optimizer, make_mapping('pmap').global_sharding)
  with Checkpoints(checkpoint_folder(workdir), read_only=True) as checkpoints:
    return jax.device_get(checkpoints.restore_newest(like))


def without_head(params: Any) -> Any:
  return {module: leaves for module, leaves in params.items() if module != HEAD}


def assert_equal(a: Any, b: Any) -> None:
  assert jax.tree.map(np.array_equal, a, b) == jax.tree.map(lambda _: True, b)


def test_a_start_has_the_weights_and_a_head_of_its_own(tuned: Config, saved: Saved):
  model = make_model(tuned)
  params, state = load_start(tuned, model)
  fresh = model.init(jax.random.key(tuned.seed))
  assert_equal(without_head(params), without_head(saved.params))
  assert_equal(state, saved.state)
  assert_equal(params[HEAD], fresh[0][HEAD])  # ten classes
  kinds = [[x.dtype for x in jax.tree.leaves(tree)] for tree in ((params, state), fresh)]
  assert kinds[0] == kinds[1]


def test_the_head_may_be_that_of_the_weights(tuned: Config, saved: Saved):
  tuned.finetune.new_head = False
  assert_equal(load_start(tuned, create_model(NAME, 7))[0], saved.params)
  with pytest.raises(InputError, match=rf'(?s)does not fit .*wrong shape: {HEAD} w is \(\d+, 7\)'):
    load_start(tuned, make_model(tuned))


@pytest.mark.parametrize(('channels', 'share'), [('sum', 1), ('mean', 1 / 3)])
def test_the_first_kernels_may_be_those_of_one_channel(
  tuned: Config, saved: Saved, channels: str, share: float
):
  tuned.model.in_channels, tuned.finetune.channels = 1, channels
  kernel = load_start(tuned, make_model(tuned))[0][STEM]['w']
  expected = saved.params[STEM]['w'].sum(axis=2, keepdims=True) * share
  np.testing.assert_allclose(kernel, expected, rtol=1e-6)


def test_without_weights_a_run_starts_from_scratch(tuned: Config):
  tuned.finetune = FineTuneConfig(freeze_to='stem', layer_decay=0.5)
  assert load_start(tuned, make_model(tuned)) is None


@pytest.mark.parametrize(
  ('weights', 'asked', 'source'), [(None, NAME, 'timm'), ('x.npz', 'x.npz', None)]
)
def test_released_weights_are_those_of_the_network_unless_a_file_is_named(
  tuned: Config,
  monkeypatch: pytest.MonkeyPatch,
  weights: str | None,
  asked: str,
  source: str | None,
):
  calls: list[tuple[str, Model, str | None]] = []

  def fake(name: str, model: Model, *, source: str | None, **options: object) -> tuple[dict, dict]:
    del options
    calls.append((name, model, source))
    return {}, {}

  monkeypatch.setattr(start_module, 'load_weights', fake)
  tuned.finetune = FineTuneConfig(weights=weights, source='timm')
  model = make_model(tuned)
  assert load_start(tuned, model) == ({}, {})
  assert calls == [(asked, model, source)]


def test_a_state_starts_with_copies_of_what_it_is_given(saved: Saved):
  model = create_model(NAME, 7)
  optimizer, _ = make_optimizer(Config(), derive(Config(), 4096))
  start = jax.tree.map(jax.numpy.asarray, (saved.params, saved.state))
  state = create_state(model, optimizer, jax.random.key(0), start=start)
  for params, network_state in [(state.params, state.state), (state.ema_params, state.ema_state)]:
    assert_equal(params, saved.params)
    assert_equal(network_state, saved.state)
  buffers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
  assert len(set(buffers)) == len(buffers)


def test_a_run_starts_from_weights_in_any_size_and_goes_on_without_them(
  tmp_path: Path, tuned: Config, saved: Saved, capsys: pytest.CaptureFixture[str]
):
  tuned.data.train_size, tuned.data.test_size = 24, 40  # the network's own are 32 pixels
  outcome = train(tuned, tmp_path / 'run')
  assert isinstance(outcome, Outcome)
  assert (outcome.step, outcome.scores.examples) == (1, 50)
  first = restore(tuned, tmp_path / 'run')
  assert f', float32, weights of {saved.file}, frozen up to neck\n' in capsys.readouterr().out

  saved.file.unlink()
  tuned.epochs = 3 * 32 / 96
  train(tuned, tmp_path / 'run', force=True)
  last = restore(tuned, tmp_path / 'run')
  assert ', float32, frozen up to neck\n' in capsys.readouterr().out

  assert (int(first.step), int(last.step)) == (1, 3)
  for state in (first, last):
    for params in (state.params, state.ema_params):
      assert_equal(without_head(params), without_head(saved.params))
    assert_equal(state.state, saved.state)
    assert_equal(state.ema_state, saved.state)
  assert not np.array_equal(first.params[HEAD]['w'], last.params[HEAD]['w'])


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'weights': '/no/such/file'}, "'/no/such/file' is no file"),
    ({'new_head': False}, 'does not fit the network'),
    ({'freeze_to': 'block_9'}, r"^finetune\.freeze_to='block_9' is not known"),
  ],
)
def test_wrong_weights_are_told_before_a_folder_is_made(
  tmp_path: Path, tuned: Config, change: dict[str, Any], message: str
):
  tuned.finetune = dataclasses.replace(tuned.finetune, **change)
  with pytest.raises(InputError, match=message):
    train(tuned, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
