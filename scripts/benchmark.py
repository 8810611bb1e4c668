#!/usr/bin/env python3
"""Measures how fast the program is on this machine.

Examples:
  scripts/benchmark.py init --model=nfnet_f0 --model=nfnet_f6
  scripts/benchmark.py init --model=nfnet_f0 --repeats=9 --json=init.json
  scripts/benchmark.py load --model=nfnet_f0

init: seconds of `model.init` in a fresh process, compilation included; the networks take turns.
load: seconds and memory of `load_weights` in a fresh process, from every kind of file (Linux).
"""

import json
import sys

from absl import flags

from nfnets import command_line
from nfnets.benchmarks import init, load
from nfnets.errors import InputError
from nfnets.models.variants import find_variant
from nfnets.output_files import check_writable, write_text

MODEL = flags.DEFINE_multi_string(
  'model', None, 'A network; may be given several times.', required=True
)
REPEATS = flags.DEFINE_integer('repeats', 5, 'Measurements of each network.', lower_bound=1)
JSON = flags.DEFINE_string('json', None, 'Also write the measurements to this file.')


_BENCHMARKS = {'init': init, 'load': load}


def main(argv: list[str]) -> None:
  """Measures."""
  if len(argv) != 2 or argv[1] not in _BENCHMARKS:
    raise InputError(
      f'name what to measure, {" or ".join(_BENCHMARKS)}, not {" ".join(argv[1:])!r}: '
      'benchmark.py init --model=nfnet_f0'
    )
  benchmark = _BENCHMARKS[argv[1]]
  for name in MODEL.value:
    find_variant(name)
  check_writable('--json', JSON.value)
  measured = benchmark.measure(
    MODEL.value, REPEATS.value, progress=lambda line: print(line, file=sys.stderr)
  )
  if JSON.value is not None:
    write_text('--json', JSON.value, json.dumps(measured, indent=2) + '\n')
  print(benchmark.markdown(measured))


if __name__ == '__main__':
  command_line.run(main)
