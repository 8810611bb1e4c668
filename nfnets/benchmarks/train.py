"""How fast a network trains: the step of `scripts/train.py`, on images that are already there.

Run as a module it measures once: `python -m nfnets.benchmarks.train WORKLOAD`, which is JSON.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from nfnets.allocator import keep_freed_memory
from nfnets.benchmarks.timing import matmul_rate, peak_memory, time_calls
from nfnets.benchmarks.workload import Speed, Workload, flops_of, read_workload
from nfnets.errors import InputError
from nfnets.models.inspection import count_cost
from nfnets.native import use_kernels
from nfnets.training.config import Config, DataConfig, ModelConfig
from nfnets.training.derived import Derived, derive
from nfnets.training.parallel import Mapping, make_mapping
from nfnets.training.state import create_state
from nfnets.training.step import make_run_step

TRAINING_IMAGES = 1281167
"""Of ImageNet."""


def make_config(workload: Workload) -> Config:
  """The recipe of the NFNets without augmentation."""
  precision: Any = workload.precision  # `derive` checks it
  return Config(
    model=ModelConfig(name=workload.model, scan_from=workload.scan_from),
    data=DataConfig(dataset='imagenet2012', train_size=workload.size),
    batch_size=workload.batch_size,
    precision=precision,
  )


def make_step(config: Config, devices: int) -> tuple[Callable[[], Any], Derived]:
  """A function that takes one step more with the same batch and returns its metrics.

  The state is donated from step to step, as in a run.

  Raises:
    InputError: there are fewer devices.
  """
  derived = derive(config, TRAINING_IMAGES)
  mapping, step, new_state = _mapped(config, derived, devices)
  batch = mapping.spread(_random_batch(config.batch_size, derived))
  state = mapping.replicate(new_state())

  def once() -> Any:
    nonlocal state
    state, metrics = step(state, batch)
    return metrics

  return once, derived


def make_program(workload: Workload) -> tuple[Any, Sequence[Any]]:
  """The mapped step that is timed, and the shapes of its arguments."""
  config = make_config(workload)
  derived = derive(config, TRAINING_IMAGES)
  mapping, step, new_state = _mapped(config, derived, workload.devices)
  batch = jax.eval_shape(lambda: _random_batch(config.batch_size, derived))
  return step, (jax.eval_shape(new_state), mapping.spread_shapes(batch))


def _mapped(config: Config, derived: Derived, devices: int) -> tuple[Mapping, Any, Any]:
  """How it is spread, the step, and what makes a first state."""
  if devices > jax.device_count():
    raise InputError(f'devices={devices}: there are {jax.device_count()}')
  mapping = make_mapping(config.mapping, jax.devices()[:devices])
  step, optimizer = make_run_step(config, derived)
  key = jax.random.key(config.seed)
  return mapping, mapping.train_step(step), lambda: create_state(derived.model, optimizer, key)


def _random_batch(examples: int, derived: Derived) -> dict[str, np.ndarray]:
  rng, size = np.random.default_rng(0), derived.train_geometry.size
  each = derived.augmentation.images_per_example
  shape = (examples,) if each == 1 else (examples, each)
  return {
    'images': rng.integers(0, 256, (*shape, size, size, 3), np.uint8),
    'labels': rng.integers(0, derived.dataset.num_classes, shape, np.int32),
    'positions': np.arange(examples, dtype=np.int32),
  }


def measure(workload: Workload) -> Speed:
  """Times training steps in this process."""
  step, derived = make_step(make_config(workload), workload.devices)
  timing, device = time_calls(step), jax.devices()[0]
  size = derived.train_geometry.size
  return Speed(
    device=device.device_kind,
    size=size,
    seconds=timing.seconds,
    first_seconds=timing.first,
    flops=flops_of(count_cost(derived.model, size).macs, workload, training=True),
    peak_memory=peak_memory(device),
    matmul_rate=matmul_rate(device, workload.precision),
  )


if __name__ == '__main__':
  keep_freed_memory()
  use_kernels()
  print(json.dumps(dataclasses.asdict(measure(read_workload(sys.argv[1])))))
