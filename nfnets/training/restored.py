"""What a run has learnt so far, read from its work folder."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import SingleDeviceSharding

from nfnets.errors import InputError
from nfnets.training import workdir as folders
from nfnets.training.checkpointing import Checkpoints
from nfnets.training.config import Config
from nfnets.training.derived import Derived, derive
from nfnets.training.optimizer import make_optimizer
from nfnets.training.state import TrainState, abstract_state


class Restored(NamedTuple):
  """A run at its newest whole checkpoint."""

  config: Config
  derived: Derived
  step: int
  params: Any
  """On one device."""
  state: Any


def restore_run(workdir: Path, *, averaged: bool = True, data_dir: str | None = None) -> Restored:
  """Reads the newest whole checkpoint of a run, which may still be at work.

  Args:
    workdir: as `train` left it.
    averaged: take the moving average of the parameters, not the last ones.
    data_dir: where its data lies, if not where it was.

  Raises:
    InputError: there is no run, or no checkpoint that can be read.
  """
  config = folders.read_config(workdir)
  config.data.data_dir = data_dir or config.data.data_dir
  derived = derive(config, config.batch_size)
  optimizer, _ = make_optimizer(config, derived)
  like = abstract_state(derived.model, optimizer, SingleDeviceSharding(jax.local_devices()[0]))
  with Checkpoints(folders.checkpoint_folder(workdir), read_only=True) as checkpoints:
    found: TrainState | None = checkpoints.restore_newest(like)
  if found is None:
    raise InputError(f'workdir={str(workdir)!r} holds no checkpoint yet')
  params, state = (found.ema_params, found.ema_state) if averaged else (found.params, found.state)
  return Restored(config, derived, int(found.step), params, state)
