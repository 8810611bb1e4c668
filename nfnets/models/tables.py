"""Tables of the zoo and of one network block by block: for people, and for programs as CSV."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nfnets.models.inspection import Cost, Part
from nfnets.models.published import ACCURACIES, Accuracy
from nfnets.models.variants import VARIANTS
from nfnets.models.zoo import Model

_MIB = 2**20
_MEMORY = 'memory/image'
_ZOO_HEADER = (
  *('model', 'parameters', 'multiply-adds', _MEMORY),
  *('train px', 'test px', 'top-1'),
)


class ZooRow(NamedTuple):
  """One network; what nobody published is None."""

  model: str
  family: str
  parameters: int
  multiply_adds: int
  """For one image."""
  train_size: int
  """Pixels."""
  test_size: int
  """Pixels."""
  memory_per_image_bytes: int | None
  """Of one training step, for every image of the batch."""
  top1: float | None
  """Percent, on ImageNet."""
  top5: float | None
  top1_source: str | None


class BlockRow(NamedTuple):
  """One part of a network, for one image."""

  output: str
  height: int | None
  """None for a vector."""
  width: int | None
  channels: int
  parameters: int
  multiply_adds: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """Numbers, and how people read them."""

  records: Sequence[NamedTuple]
  """One for each row, all of one type."""
  header: tuple[str, ...]
  rows: Sequence[tuple[str, ...]]
  """The records as text under this header."""
  note: str
  """What the numbers are."""

  def text(self) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    lines = ('  '.join(line).rstrip() for line in self._aligned())
    return '\n'.join([*lines, '', self.note])

  def markdown(self) -> str:
    """The same for Markdown."""
    header, *rows = self._aligned()
    first, *others = ('-' * len(cell) for cell in header)
    ruler = [first, *(f'{dashes[1:]}:' for dashes in others)]
    lines = (f'| {" | ".join(line)} |' for line in [header, ruler, *rows])
    return '\n'.join([*lines, '', self.note])

  def csv(self) -> str:
    """The records under the names of their fields; a cell is empty for None."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerows([self.records[0]._fields, *self.records])
    return stream.getvalue().removesuffix('\n')

  def _aligned(self) -> list[list[str]]:
    lines = [self.header, *self.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
      [line[0].ljust(widths[0])]
      + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
      for line in lines
    ]


def zoo_table(
  costs: Mapping[str, Cost], memory: Mapping[str, int] | None = None, size: int | None = None
) -> Table:
  """One row for each network.

  Args:
    costs: of each network, by its name.
    memory: bytes that a training step needs for every image, likewise; None for no such column.
    size: side of the images that both are for; None for the network's test size and training size.
  """
  published = [ACCURACIES[name] for name in costs if name in ACCURACIES]
  records = [
    _zoo_row(name, cost, None if memory is None else memory[name]) for name, cost in costs.items()
  ]
  shown = [cell for cell in range(len(_ZOO_HEADER)) if memory or _ZOO_HEADER[cell] != _MEMORY]
  return Table(
    records=records,
    header=tuple(_ZOO_HEADER[cell] for cell in shown),
    rows=[tuple(_zoo_text(record)[cell] for cell in shown) for record in records],
    note=_notes(published, len(costs), size, with_memory=bool(memory)),
  )


def _zoo_row(name: str, cost: Cost, memory: int | None) -> ZooRow:
  variant, published = VARIANTS[name], ACCURACIES.get(name)
  return ZooRow(
    model=name,
    family=variant.family,
    parameters=cost.parameters,
    multiply_adds=cost.macs,
    train_size=variant.train_size,
    test_size=variant.test_size,
    memory_per_image_bytes=memory,
    top1=published and published.top1,
    top5=published and published.top5,
    top1_source=published and published.source.text,
  )


def _zoo_text(row: ZooRow) -> tuple[str, ...]:
  published = ACCURACIES.get(row.model)
  return (
    row.model,
    f'{row.parameters / 1e6:.2f} M',
    f'{row.multiply_adds / 1e9:.2f} B',
    f'{(row.memory_per_image_bytes or 0) / _MIB:.1f} MiB',
    str(row.train_size),
    str(row.test_size),
    f'{published.top1:.1f}{published.source.mark}' if published else '',
  )


def _notes(
  published: Sequence[Accuracy], number: int, size: int | None, *, with_memory: bool
) -> str:
  tested, trained = (f'{size} px',) * 2 if size else ('the test size', 'the training size')
  notes = [
    f'Multiply-adds are counted for one image of {tested}.',
    f'Memory is what a training step in bfloat16 keeps for every image of {trained}.'
    if with_memory
    else '',
    f'{number} {"network" if number == 1 else "networks"}.',
  ]
  if sources := dict.fromkeys(accuracy.source for accuracy in published):
    named = '; '.join(f'{source.mark} {source.text}'.lstrip() for source in sources)
    notes.insert(2, f'Top-1 is the published accuracy on ImageNet in percent ({named}).')
  return ' '.join(filter(None, notes))


def blocks_table(model: Model, parts: Sequence[Part], size: int | None = None) -> Table:
  """One row for each part of a network.

  Args:
    model: the network.
    parts: as `inspection.describe_blocks` gives them.
    size: side of the image that they are for; None for the network's test size.
  """
  parameters = sum(part.cost.parameters for part in parts)
  macs = sum(part.cost.macs for part in parts)
  return Table(
    records=[_block_row(part) for part in parts],
    header=('output', 'shape', 'parameters', 'multiply-adds'),
    rows=[
      (name, ' x '.join(map(str, shape)), f'{cost.parameters:,}', f'{cost.macs:,}')
      for name, shape, cost in parts
    ],
    note=f'{model.name}: {parameters:,} parameters, {macs:,} multiply-adds for one image of '
    f'{size or model.variant.test_size} px.',
  )


def _block_row(part: Part) -> BlockRow:
  height, width = part.shape[:2] if len(part.shape) == 3 else (None, None)
  return BlockRow(part.name, height, width, part.shape[-1], part.cost.parameters, part.cost.macs)
