"""How much memory this process holds while the loader makes batch after batch."""

import dataclasses
import statistics
from collections.abc import Callable

from nfnets.benchmarks.input import Loader
from nfnets.benchmarks.resident import resident_memory
from nfnets.data.images import TrainGeometry
from nfnets.data.pipeline import train_batches
from nfnets.data.records import Records

_SAMPLES = 100
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes that the process held, at equal distances.

  Attributes:
    steps: after which batch each was read.
    held: the bytes.
  """

  steps: list[int]
  held: list[int]

  @property
  def growth(self) -> float:
    """Bytes by which the last fifth is above the second; the first is a warm-up."""
    fifth = len(self.held) // 5
    return statistics.median(self.held[-fifth:]) - statistics.median(self.held[fifth : 2 * fifth])


def measure(
  records: Records,
  geometry: TrainGeometry,
  loader: Loader,
  steps: int,
  *,
  progress: Callable[[str], None],
) -> Memory:
  """Takes `steps` batches, and looks at the memory a hundred times.

  Raises:
    RunError: this system does not tell the memory of a process.
  """
  every = max(1, steps // _SAMPLES)
  seen = Memory([], [])
  with train_batches(
    records,
    geometry,
    seed=0,
    batch_size=loader.batch_size,
    threads=loader.threads,
    workers=loader.workers,
  ) as batches:
    for step in range(1, steps + 1):
      next(batches)
      if step % every == 0:
        seen.steps.append(step)
        seen.held.append(resident_memory())
        progress(f'batch {step}: {seen.held[-1] / _MIB:.1f} MiB')
  return seen


def markdown(seen: Memory) -> str:
  """The measurements as a Markdown table."""
  places = [len(seen.held) * tenth // 10 - 1 for tenth in range(1, 11)]
  rows = ['| batch | memory |', '| ---: | ---: |']
  rows += [f'| {seen.steps[i]} | {seen.held[i] / _MIB:.1f} MiB |' for i in places]
  rows.append(f'| growth | {seen.growth / _MIB:.1f} MiB |')
  return '\n'.join(rows)
