"""How long `model.init` takes in a fresh process, compilation included.

Run as a module it measures once: `python -m nfnets.benchmarks.init nfnet_f0`.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import jax

from nfnets.benchmarks.processes import in_fresh_process, in_turns
from nfnets.models.zoo import create_model


def measure(
  names: Sequence[str], repeats: int, *, progress: Callable[[str], None]
) -> dict[str, list[float]]:
  """Seconds of `model.init` for each network, each time in a process of its own.

  Args:
    names: of networks; they take turns.
    repeats: how often each is measured.
    progress: is told each measurement as it comes.

  Raises:
    RunError: a process failed.
  """
  return in_turns(lambda name: in_fresh_process(__name__, name), names, repeats, progress)


def markdown(seconds: dict[str, list[float]]) -> str:
  """The measurements as a Markdown table."""
  rows = ['| model | median | least | most | runs |', '| --- | ---: | ---: | ---: | ---: |']
  for name, values in seconds.items():
    rows.append(
      f'| {name} | {statistics.median(values):.2f} s | {min(values):.2f} s | {max(values):.2f} s '
      f'| {len(values)} |'
    )
  return '\n'.join(rows)


def _once(name: str) -> float:
  model, rng = create_model(name), jax.random.key(0)
  start = time.perf_counter()
  jax.block_until_ready(model.init(rng))
  return time.perf_counter() - start


if __name__ == '__main__':
  print(json.dumps(_once(sys.argv[1])))
