"""Speeds of several networks, ours and timm's, each measured in fresh processes that take turns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from nfnets.benchmarks.processes import in_fresh_process, in_turns
from nfnets.benchmarks.workload import Speed, Workload, rounded, summarize

OURS, TIMM = 'nfnets', 'timm'
_GIGA, _TERA = 1e9, 1e12

Kind = Literal['train', 'infer']
Summaries = dict[str, dict[str, Any]]


def measure(
  kind: Kind,
  workloads: Sequence[Workload],
  repeats: int,
  *,
  against_timm: bool = False,
  progress: Callable[[str], None],
) -> Summaries:
  """Measures every workload `repeats` times, each time in a process of its own.

  Args:
    kind: training or inference.
    workloads: they take turns.
    repeats: processes for each.
    against_timm: measure timm's network as well, in turns with ours.
    progress: is told each measurement as it comes.

  Returns:
    'MODEL, nfnets' or 'MODEL, timm' -> what `summarize` makes of the measurements.

  Raises:
    RunError: a process failed.
  """
  rows = {
    f'{workload.model}, {whose}': workload
    for workload in workloads
    for whose in ([OURS, TIMM] if against_timm else [OURS])
  }

  def once(row: str) -> Speed:
    if row.endswith(TIMM):
      command = ['nfnets.benchmarks.pytorch', kind]
    else:
      command = [f'nfnets.benchmarks.{kind}']
    return Speed(**in_fresh_process(*command, rows[row].to_json(), compilation_cache=True))

  measured = in_turns(once, list(rows), repeats, progress)
  return {row: summarize(rows[row], speeds) for row, speeds in measured.items()}


def markdown(summaries: Summaries) -> str:
  """The measurements as a Markdown table."""
  titles = (
    'network', 'batch', 'pixels', 'images/s', 'a step', 'least', 'most',
    'TFLOP/s', 'of matmul', 'peak memory', 'first step', 'of timm',
  )  # fmt: skip
  lines = [titles, ('---', *['---:'] * (len(titles) - 1))]
  lines += [_cells(row, summaries) for row in summaries]
  return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def _cells(row: str, summaries: Summaries) -> tuple[str, ...]:
  found = summaries[row]
  step, peak, ratio = found['step_seconds'], found['peak_memory'], _ratio(row, summaries)
  return (
    row,
    str(found['batch_size']),
    str(found['size']),
    rounded(found['images_per_second']),
    *(f'{rounded(1000 * step[which])} ms' for which in ('median', 'least', 'most')),
    rounded(found['flops_per_second'] / _TERA),
    f'{found["mfu"]:.1%}',
    '' if peak is None else f'{peak / _GIGA:.3g} GB',
    f'{found["first_step_seconds"]:.3g} s',
    '' if ratio is None else f'{ratio:.3g}',
  )


def _ratio(row: str, summaries: Mapping[str, Mapping[str, Any]]) -> float | None:
  """Our images a second as a multiple of timm's."""
  model, whose = row.split(', ')
  peer = f'{model}, {TIMM}'
  if whose != OURS or peer not in summaries:
    return None
  return summaries[row]['images_per_second'] / summaries[peer]['images_per_second']
