#!/usr/bin/env python3
"""Lists the networks, or shows one block by block.

Examples:
  scripts/models.py
  scripts/models.py 'nfnet_f?'
  scripts/models.py nfnet_f0 --blocks
  scripts/models.py nfnet_f0 --blocks --size=192
  scripts/models.py --markdown
  scripts/models.py --csv > zoo.csv

Multiply-adds and memory are read off the traced program; nothing is computed.  The whole zoo takes
some minutes, without memory half of that.  --markdown --nomemory prints the table of the README,
--csv the plain numbers.
"""

import concurrent.futures
import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence

import jax
from absl import flags

from nfnets import command_line
from nfnets.errors import InputError
from nfnets.models import inspection, memory, tables, variants, zoo

jax.config.update('jax_platforms', 'cpu')  # leaves accelerators to those who compute

MARKDOWN = flags.DEFINE_bool('markdown', False, 'Print a Markdown table.')
CSV = flags.DEFINE_bool('csv', False, 'Print comma-separated numbers under one header.')
MEMORY = flags.DEFINE_bool(
  'memory', True, 'Also tell the memory of a training step, which takes most of the time.'
)
BLOCKS = flags.DEFINE_bool('blocks', False, 'Show one network block by block.')
SIZE = flags.DEFINE_integer(
  'size',
  None,
  'Side of the image in pixels.  By default the test size for multiply-adds and the training size '
  'for memory.',
)

Needs = tuple[inspection.Cost, int]

_MANY = 8  # networks: other processes take some seconds to start
_MOST_PROCESSES = 8  # each takes half a gigabyte


def main(argv: list[str]) -> None:
  """Prints one table."""
  if len(argv) > 2:
    raise InputError(f'name one network or pattern, not {len(argv) - 1}: models.py PATTERN')
  if BLOCKS.value and len(argv) < 2:
    raise InputError('--blocks: name the network as well: models.py nfnet_f0 --blocks')
  if CSV.value and MARKDOWN.value:
    raise InputError('--csv --markdown: choose one of them')
  table = blocks_table(argv[1]) if BLOCKS.value else zoo_table(*argv[1:])
  print(table.csv() if CSV.value else table.markdown() if MARKDOWN.value else table.text())


def blocks_table(name: str) -> tables.Table:
  """The blocks of one network."""
  model = zoo.create_model(name)
  parts = inspection.describe_blocks(model, SIZE.value)
  return tables.blocks_table(model, parts, SIZE.value)


def zoo_table(pattern: str = '*') -> tables.Table:
  """The networks whose names match the pattern."""
  names = zoo.list_models(pattern)
  if not names:
    variants.find_variant(pattern)  # raises, with the nearest names
  costs, kept = {}, {}
  for number, (name, (cost, needed)) in enumerate(zip(names, needs(names), strict=True), 1):
    costs[name], kept[name] = cost, needed
    show(f'{number} of {len(names)}: {name}')
  show('')
  return tables.zoo_table(costs, kept if MEMORY.value else None, SIZE.value)


def needs(names: Sequence[str]) -> Iterator[Needs]:
  """What each network needs, in order."""
  sizes, with_memory = itertools.repeat(SIZE.value), itertools.repeat(MEMORY.value)
  if len(names) < _MANY:
    yield from map(need, names, sizes, with_memory)
    return
  # Tracing keeps one core busy.
  with concurrent.futures.ProcessPoolExecutor(
    min(os.cpu_count() or 1, _MOST_PROCESSES),
    multiprocessing.get_context('spawn'),
    initializer=signal.signal,
    initargs=(signal.SIGINT, signal.SIG_IGN),  # this process stops the others
  ) as pool:
    yield from pool.map(need, names, sizes, with_memory)


def need(name: str, size: int | None, with_memory: bool) -> Needs:
  """What one network needs."""
  model = zoo.create_model(name)
  kept = memory.training_memory(model, size).per_image if with_memory else 0
  return inspection.count_cost(model, size), kept


def show(progress: str) -> None:
  """What is being counted, where somebody watches."""
  if sys.stderr.isatty():
    print(f'\r\033[K{progress}', end='', file=sys.stderr, flush=True)


if __name__ == '__main__':
  command_line.run(main)
