"""What one of two processes with two devices each sees of the other, as one line of JSON.

Arguments: port, process, folder.
"""

import dataclasses
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from nfnets.data.datasets import DATASETS
from nfnets.data.examples import BadRecord, Record
from nfnets.data.images import EvalGeometry
from nfnets.errors import InputError, RunError
from nfnets.training import distributed
from nfnets.training.agreement import check_same, gather, together
from nfnets.training.bad_records import counting_train_step
from nfnets.training.evaluation import Evaluator
from nfnets.training.parallel import make_mapping
from nfnets.training.step import AXIS, make_eval_step
from nfnets.training.workdir import held

CLASSES, SIZE, COUNT = 10, 4, 17
BAD = 3  # of the records


class Net:
  """Sees in the top left pixel which class it is to name; not a number for padding, all zero."""

  in_channels = 3

  def apply(self, params: Any, state: Any, rng: Any, images: jax.Array) -> Any:
    pixel = jnp.round(images[:, 0, 0, 0] * 255)
    logits = jax.nn.one_hot(pixel - 1, CLASSES) * params
    return {'logits': jnp.where(pixel[:, None] == 0, jnp.nan, logits)}, state


class Examples:
  """Of example i the class is i % 10; the pixels say so, but for every fifth."""

  max_labels = 1

  def __init__(self, count: int):
    self.count = count

  def __len__(self) -> int:
    return self.count

  def __getitem__(self, i: int) -> Record:
    if i == BAD:
      raise BadRecord(f'record {i} is damaged')
    label = i % CLASSES
    named = (label + 1) % CLASSES if i % 5 == 0 else label
    file = io.BytesIO()
    Image.fromarray(np.full((SIZE, SIZE, 3), named + 1, np.uint8)).save(file, 'PNG')
    return Record(file.getvalue(), (label,), f'{i}')


def told(function: Callable[[], Any]) -> Any:
  """What it returned, or what it raised."""
  try:
    return function()
  except (InputError, RunError, KeyError) as error:
    return f'{type(error).__name__}: {error}'


def fail_on(process: int, error: Exception) -> str:
  def function() -> str:
    if jax.process_index() == process:
      raise error
    return f'well on {jax.process_index()}'

  return told(lambda: together(function))


def see_folder(folder: Path) -> str:
  with held(folder):
    return 'held'


def counts(how: str) -> list[int]:
  """Bad records of two steps: process p meets 10 p + 1 and 10 p + 2 on its two devices."""
  mapping = make_mapping(how)

  def step(state: jax.Array, batch: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
    assert batch.keys() == {'x'}
    return state + jax.lax.pmean(batch['x'].mean(), AXIS), {
      'x': jax.lax.psum(batch['x'].sum(), AXIS)
    }

  mapped = mapping.train_step(counting_train_step(step))
  state, found = mapping.replicate(np.float32(0)), []
  for _ in range(2):
    bad = 10 * jax.process_index() + np.arange(1, 3, dtype=np.int32)
    batch = mapping.spread({'x': np.ones(2, np.float32), 'bad_records': bad})
    state, metrics = mapped(state, batch)
    assert int(metrics['x']) == 4
    found.append(int(metrics['bad_records']))
  return [*found, int(state)]


def scores(how: str, count: int) -> dict[str, Any]:
  dataset = dataclasses.replace(
    DATASETS['digits'], num_classes=CLASSES, mean=(0.0,) * 3, std=(255.0,) * 3
  )
  evaluate = Evaluator(
    make_eval_step(Net(), dataset, 'float32'),  # pyright: ignore[reportArgumentType]
    make_mapping(how),
    Examples(count),
    EvalGeometry(size=SIZE, margin=0),
    batch_size=8,
  )
  return dataclasses.asdict(evaluate((np.float32(1), {}))[0])


def main() -> None:
  port, process, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
  jax.config.update('jax_num_cpu_devices', 2)
  distributed.join(place=distributed.Place(f'127.0.0.1:{port}', 2, process), wait=60, heartbeat=10)
  seen = {
    'devices': [jax.process_index(), jax.process_count(), jax.device_count()],
    'first': distributed.is_first(),
    'gathered': gather(f'from {process}: ' + 'ä' * 100 * process),
    'well': fail_on(7, InputError('never')),
    'input': fail_on(1, InputError('wrong')),
    'run': fail_on(0, RunError('diverged')),
    'crash': fail_on(1, KeyError('lost')),
    'same': told(lambda: check_same({'seed': 0, 'data': ['x' * 100]})),
    'other': told(lambda: check_same({'seed': process, 'data': [str(process) * 100]})),
    'held': told(lambda: see_folder(folder)),
    'counts': {how: counts(how) for how in ('pmap', 'shard_map')},
    'scores': {how: [scores(how, count) for count in (COUNT, 2)] for how in ('pmap', 'shard_map')},
  }
  print(json.dumps(seen), flush=True)
  distributed.leave(0)


if __name__ == '__main__':
  main()
