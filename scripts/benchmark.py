#!/usr/bin/env python3
"""Measures how fast the program is on this machine.

Examples:
  scripts/benchmark.py init --model=nfnet_f0 --model=nfnet_f6
  scripts/benchmark.py init --model=nfnet_f0 --repeats=9 --json=init.json

init: seconds of `model.init` in a fresh process, compilation included; the networks take turns.
"""

import json
import sys
from pathlib import Path

from absl import flags

from nfnets import command_line
from nfnets.benchmarks import init
from nfnets.errors import InputError
from nfnets.models.variants import find_variant

MODEL = flags.DEFINE_multi_string(
  'model', None, 'A network; may be given several times.', required=True
)
REPEATS = flags.DEFINE_integer('repeats', 5, 'Measurements of each network.', lower_bound=1)
JSON = flags.DEFINE_string('json', None, 'Also write the measurements to this file.')


def main(argv: list[str]) -> None:
  """Measures."""
  if argv[1:] != ['init']:
    raise InputError(f'name what to measure: benchmark.py init, not {" ".join(argv[1:])!r}')
  for name in MODEL.value:
    find_variant(name)
  seconds = init.measure(
    MODEL.value, REPEATS.value, progress=lambda line: print(line, file=sys.stderr)
  )
  if JSON.value:
    Path(JSON.value).write_text(json.dumps(seconds, indent=2) + '\n', encoding='utf-8')
  print(init.markdown(seconds))


if __name__ == '__main__':
  command_line.run(main)
