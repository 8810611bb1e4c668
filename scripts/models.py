#!/usr/bin/env python3
"""Lists the networks, or shows one block by block.

Examples:
  scripts/models.py
  scripts/models.py 'nfnet_f?'
  scripts/models.py nfnet_f0 --blocks
  scripts/models.py nfnet_f0 --blocks --size=192
  scripts/models.py --markdown

Multiply-adds are counted on the traced program; nothing is computed.  The whole zoo takes half a
minute.  --markdown prints the table of the README.
"""

import sys

from absl import flags

from nfnets import command_line
from nfnets.errors import InputError
from nfnets.models import inspection, tables, variants, zoo

MARKDOWN = flags.DEFINE_bool('markdown', False, 'Print a Markdown table.')
BLOCKS = flags.DEFINE_bool('blocks', False, 'Show one network block by block.')
SIZE = flags.DEFINE_integer('size', None, 'Side of the image in pixels; the test size by default.')


def main(argv: list[str]) -> None:
  """Prints one table."""
  if len(argv) > 2:
    raise InputError(f'name one network or pattern, not {len(argv) - 1}: models.py PATTERN')
  if BLOCKS.value and len(argv) < 2:
    raise InputError('--blocks: name the network as well: models.py nfnet_f0 --blocks')
  table = blocks_table(argv[1]) if BLOCKS.value else zoo_table(*argv[1:])
  print(table.markdown() if MARKDOWN.value else table.text())


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
  costs = {}
  for name in names:
    show(name)
    costs[name] = inspection.count_cost(zoo.create_model(name), SIZE.value)
  show('')
  return tables.zoo_table(costs, SIZE.value)


def show(name: str) -> None:
  """What is being counted, where somebody watches."""
  if sys.stderr.isatty():
    print(f'\r\033[K{name}', end='', file=sys.stderr, flush=True)


if __name__ == '__main__':
  command_line.run(main)
