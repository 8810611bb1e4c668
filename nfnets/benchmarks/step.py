"""What the parts of a training step cost: steps with and without them, in one process."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence

from nfnets.augment.augment import Augmentation
from nfnets.benchmarks.timing import Timing, time_calls
from nfnets.benchmarks.train import make_config, make_step
from nfnets.benchmarks.workload import Workload, rounded
from nfnets.optim.sam import RHO
from nfnets.training.config import Config

PLAIN = 'plain'
_MICRO_BATCHES = 4


def _plain(config: Config) -> None:
  """As it is: AGC and averaged parameters are parts of every step."""


def _augmented(config: Config) -> None:
  """As the NFNets were trained: MixUp, CutMix and RandAugment."""
  theirs, ours = Augmentation(), config.augment
  ours.mixup, ours.cutmix = theirs.mixup, theirs.cutmix
  ours.layers, ours.magnitude = theirs.layers, theirs.magnitude


def _fast_sam(config: Config) -> None:
  config.optimizer.sam_rho, config.optimizer.sam_share = RHO, 0.2


def _sam(config: Config) -> None:
  config.optimizer.sam_rho, config.optimizer.sam_share = RHO, 1.0


def _micro_batches(config: Config) -> None:
  config.micro_batch_size = max(1, config.batch_size // _MICRO_BATCHES)


PARTS: dict[str, Callable[[Config], None]] = {
  PLAIN: _plain,
  'augmented': _augmented,
  'fast_sam': _fast_sam,
  'sam': _sam,
  'micro_batches': _micro_batches,
}
"""What is added to the plain step; the direction of fast SAM comes from a fifth of the batch."""


@dataclasses.dataclass(frozen=True)
class Step:
  """A step with something added."""

  model: str
  part: str
  """Key of `PARTS`."""
  timing: Timing
  ratio: float
  """Of its median to that of the first step of this network."""


def measure(
  workloads: Sequence[Workload], parts: Sequence[str], *, progress: Callable[[str], None]
) -> list[Step]:
  """Times the steps one after the other.

  Args:
    workloads: which networks.
    parts: keys of `PARTS`; the first is what the others are compared with.
    progress: is told each measurement as it comes.
  """
  steps: list[Step] = []
  for workload in workloads:
    first = None
    for part in parts:
      timing = _time(workload, part)
      first = first or timing
      ratio = statistics.median(timing.seconds) / statistics.median(first.seconds)
      steps.append(Step(workload.label, part, timing, ratio))
      progress(f'{workload.model}, {part}: {timing}')
  return steps


def _time(workload: Workload, part: str) -> Timing:
  """In a function of its own, so that the state is gone afterwards."""
  config = make_config(workload)
  PARTS[part](config)
  step, _ = make_step(config, workload.devices)
  return time_calls(step)


def markdown(steps: Sequence[Step]) -> str:
  """The measurements as a Markdown table."""
  rows = [
    '| network | step | median | least | most | ratio | first step |',
    '| --- | --- | ---: | ---: | ---: | ---: | ---: |',
  ]
  for step in steps:
    seconds = step.timing.seconds
    median, least, most = (
      f'{rounded(1000 * value)} ms'
      for value in (statistics.median(seconds), min(seconds), max(seconds))
    )
    rows.append(
      f'| {step.model} | {step.part} | {median} | {least} | {most} | {step.ratio:.3f} '
      f'| {step.timing.first:.3g} s |'
    )
  return '\n'.join(rows)
