"""How long `model.init` takes in a fresh process, compilation included.

Run as a module it measures once: `python -m nfnets.benchmarks.init nfnet_f0`.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import jax

from nfnets.errors import RunError
from nfnets.models.zoo import create_model


def measure(
  names: Sequence[str], repeats: int, *, progress: Callable[[str], None]
) -> dict[str, list[float]]:
  """Seconds of `model.init` for each network, each time in a process of its own.

  Args:
    names: of networks; they take turns, so that what else the machine does meets all alike.
    repeats: how often each is measured.
    progress: is told each measurement as it comes.

  Raises:
    RunError: a process failed.
  """
  seconds: dict[str, list[float]] = {name: [] for name in names}
  for _ in range(repeats):
    for name in names:
      seconds[name].append(_in_fresh_process(name))
      progress(f'{name}: {seconds[name][-1]:.2f} s')
  return seconds


def markdown(seconds: dict[str, list[float]]) -> str:
  """The measurements as a Markdown table."""
  rows = ['| model | median | least | most | runs |', '| --- | ---: | ---: | ---: | ---: |']
  for name, values in seconds.items():
    rows.append(
      f'| {name} | {statistics.median(values):.2f} s | {min(values):.2f} s | {max(values):.2f} s '
      f'| {len(values)} |'
    )
  return '\n'.join(rows)


def _in_fresh_process(name: str) -> float:
  # Without a compilation cache: a user's first run has none.
  environment = {k: v for k, v in os.environ.items() if not k.startswith('JAX_COMPILATION_CACHE')}
  done = subprocess.run(
    [sys.executable, '-m', 'nfnets.benchmarks.init', name],
    env=environment,
    capture_output=True,
    text=True,
  )
  if done.returncode:
    raise RunError(f'measuring {name} failed: {done.stderr.strip().splitlines()[-1:]}')
  return json.loads(done.stdout)


def _once(name: str) -> float:
  model, rng = create_model(name), jax.random.key(0)
  start = time.perf_counter()
  jax.block_until_ready(model.init(rng))
  return time.perf_counter() - start


if __name__ == '__main__':
  print(json.dumps(_once(sys.argv[1])))
