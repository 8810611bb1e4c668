"""How long a program takes until it can run: traced and compiled in a fresh process.

Run as a module it measures once: `python -m nfnets.benchmarks.compile train|infer WORKLOAD`.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from nfnets.benchmarks import infer, train
from nfnets.benchmarks.processes import in_fresh_process, in_turns
from nfnets.benchmarks.workload import Workload, read_workload
from nfnets.native import use_kernels

PROGRAMS = ('train', 'infer')


class Compiling(NamedTuple):
  """One measurement, in seconds."""

  trace: float
  """Python runs through the network, and what it did is written down for the compiler."""
  compile: float
  cores: float
  """Of both, in all threads; what else the machine does hardly changes it."""


def measure(
  workloads: Sequence[Workload],
  programs: Sequence[str],
  repeats: int,
  *,
  progress: Callable[[str], None],
) -> dict[str, list[Compiling]]:
  """Compiles every program of every workload, each time in a process of its own.

  Nothing that was compiled before is used.

  Args:
    workloads: they and the programs take turns.
    programs: of `PROGRAMS`.
    repeats: how often each is measured.
    progress: is told each measurement as it comes.

  Returns:
    'NETWORK, PROGRAM' -> measurements.

  Raises:
    RunError: a process failed.
  """
  rows = {f'{w.label}, {program}': (program, w) for program in programs for w in workloads}

  def once(row: str) -> Compiling:
    program, workload = rows[row]
    return Compiling(*in_fresh_process(__name__, program, workload.to_json()))

  return in_turns(once, list(rows), repeats, progress)


def markdown(measured: Mapping[str, Sequence[Compiling]]) -> str:
  """The measurements as a Markdown table: medians.

  Ratios are of the seconds of all cores, to the first network of each program.
  """
  rows = [
    '| network | program | trace | compile | of all cores | least | most | ratio | runs |',
    '| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
  ]
  first: dict[str, float] = {}
  for row, values in measured.items():
    network, program = row.split(', ')
    medians = Compiling(*(statistics.median(part) for part in zip(*values, strict=True)))
    ratio = medians.cores / first.setdefault(program, medians.cores)
    cores = [value.cores for value in values]
    cells = [network, program, *(f'{value:.1f} s' for value in (*medians, min(cores), max(cores)))]
    rows.append(f'| {" | ".join(cells)} | {ratio:.2f} | {len(values)} |')
  return '\n'.join(rows)


def time_compiling(function: Any, shapes: Sequence[Any]) -> Compiling:
  """Of a function of `jax.jit` or `jax.pmap`, for arguments of these shapes."""
  start, start_of_cores = time.perf_counter(), time.process_time()
  lowered = function.lower(*shapes)
  traced = time.perf_counter()
  lowered.compile()
  return Compiling(
    traced - start, time.perf_counter() - traced, time.process_time() - start_of_cores
  )


def _once(program: str, workload: Workload) -> Compiling:
  jax.devices()  # what every program that uses JAX pays once
  programs = {'train': train.make_program, 'infer': infer.make_program}
  return time_compiling(*programs[program](workload))


if __name__ == '__main__':
  use_kernels()
  print(json.dumps(_once(sys.argv[1], read_workload(sys.argv[2]))))
