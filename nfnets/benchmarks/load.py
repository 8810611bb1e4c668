"""How long `load_weights` takes in a fresh process, and how much memory beside the file's size.

The files are those that people have: ours, timm's safetensors and DeepMind's pickles, of random
numbers.  Run as a module it measures once: `python -m nfnets.benchmarks.load FILE nfnet_f0`.
"""

import json
import pickle
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax

from nfnets.benchmarks.processes import in_fresh_process, in_turns
from nfnets.benchmarks.resident import resident_memory
from nfnets.loading import load_weights, save_weights
from nfnets.models.zoo import create_model

_PAUSE = 0.002  # seconds between two looks at the memory
_PROTOCOL = 3  # of the pickles that DeepMind released


class Loading(NamedTuple):
  """One measurement."""

  seconds: float
  memory: float
  """Most memory that the process took while loading, as a multiple of the file's size."""


def measure(
  names: Sequence[str], repeats: int, *, progress: Callable[[str], None]
) -> dict[str, list[Loading]]:
  """Loads weights of each network from each kind of file, each time in a process of its own.

  Args:
    names: of networks; they and the kinds take turns.
    repeats: how often each is measured.
    progress: is told each measurement as it comes.

  Returns:
    'NAME, KIND' -> measurements.

  Raises:
    RunError: a process failed.
  """
  with tempfile.TemporaryDirectory() as folder:
    files = {row: path for name in names for row, path in _write(Path(folder), name)}

    def once(row: str) -> Loading:
      return Loading(*in_fresh_process(__name__, str(files[row]), row.split(',')[0]))

    return in_turns(once, list(files), repeats, progress)


def markdown(measured: dict[str, list[Loading]]) -> str:
  """The measurements as a Markdown table."""
  rows = [
    '| weights | median | least | most | memory / file | runs |',
    '| --- | ---: | ---: | ---: | ---: | ---: |',
  ]
  for row, values in measured.items():
    seconds = [value.seconds for value in values]
    memory = max(value.memory for value in values)
    rows.append(
      f'| {row} | {statistics.median(seconds):.2f} s | {min(seconds):.2f} s | {max(seconds):.2f} s '
      f'| {memory:.2f} | {len(values)} |'
    )
  return '\n'.join(rows)


def _write(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
  """A file of each kind that this network can have."""
  model = create_model(name)
  params, state = jax.device_get(model.init(jax.random.key(0)))
  ours, timms, pickled = (folder / f'{name}.{kind}' for kind in ('ours', 'timm', 'npz'))
  save_weights(ours, model, params, state)
  yield f'{name}, ours', ours
  if not state:
    save_weights(timms, model, params, form='timm')
    yield f'{name}, timm', timms
  pickled.write_bytes(pickle.dumps(params, _PROTOCOL))
  yield f'{name}, DeepMind', pickled


@contextmanager
def _peak_memory() -> Iterator[dict[str, int]]:
  """Afterwards `most` is by how many bytes this process was larger than before."""
  before, peak, done = resident_memory(), {'most': 0}, threading.Event()

  def watch() -> None:
    while not done.wait(_PAUSE):
      peak['most'] = max(peak['most'], resident_memory() - before)

  watcher = threading.Thread(target=watch)
  watcher.start()
  try:
    yield peak
  finally:
    done.set()
    watcher.join()


def _once(path: Path, name: str) -> Any:
  jax.devices()  # what every program that uses JAX pays once
  with _peak_memory() as peak:
    start = time.perf_counter()
    jax.block_until_ready(load_weights(path, name))
    seconds = time.perf_counter() - start
  return seconds, peak['most'] / path.stat().st_size


if __name__ == '__main__':
  print(json.dumps(_once(Path(sys.argv[1]), sys.argv[2])))
