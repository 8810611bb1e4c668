"""One short run that several tests look at, and what it learns from: a plugin of pytest."""

import contextlib
import copy
import dataclasses
import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from micro import VARIANT

from nfnets.data.preparation import prepare
from nfnets.models.variants import VARIANTS
from nfnets.training.config import Config, DataConfig, ModelConfig, OptimizerConfig
from nfnets.training.loop import Outcome, train

MICRO = 'nfnet_micro'


@dataclasses.dataclass(frozen=True)
class Finished:
  """A run that came to its end."""

  config: Config
  workdir: Path
  outcome: Outcome
  printed: list[str]
  seconds: float


@pytest.fixture(scope='session')
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A data folder that holds the handwritten digits."""
  folder = tmp_path_factory.mktemp('data')
  prepare('digits', folder)
  return folder


@contextlib.contextmanager
def in_the_zoo() -> Iterator[None]:
  """For a while only: tests elsewhere compare the whole zoo with what is written of it."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(VARIANTS, MICRO, VARIANT)
    yield


@pytest.fixture(scope='session')
def short_config(digits: Path) -> Config:
  """24 steps over the same 96 images; not to be changed."""
  return Config(
    model=ModelConfig(name=MICRO, stochdepth_rate=0.0),
    data=DataConfig(
      dataset='digits',
      data_dir=str(digits),
      train_split='train[:96]',
      eval_split='test[:50]',
      padding=0,
      flip=False,
      eval_margin=0,
    ),
    optimizer=OptimizerConfig(
      learning_rate=0.8, warmup_epochs=1, clipping=0.16, weight_decay=0.0, ema_decay=0.9
    ),
    batch_size=32,
    eval_batch_size=16,
    epochs=8,
    label_smoothing=0.0,
    precision='float32',
    log_every=5,
    eval_every=8,
    checkpoint_every=10,
  )


@pytest.fixture
def config(short_config: Config) -> Config:
  """The same for a test to change."""
  return copy.deepcopy(short_config)


@pytest.fixture(scope='session')
def finished(short_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Finished:
  """The run of `short_config`, all its steps."""
  workdir = tmp_path_factory.mktemp('runs') / 'finished'
  with in_the_zoo(), contextlib.redirect_stdout(io.StringIO()) as out:
    start = time.monotonic()
    outcome = train(short_config, workdir)
    seconds = time.monotonic() - start
  return Finished(short_config, workdir, outcome, out.getvalue().splitlines(), seconds)
