"""Tables for people: the zoo, and one network block by block."""

import dataclasses
from collections.abc import Mapping, Sequence

from nfnets.models.inspection import Cost, Part
from nfnets.models.published import ACCURACIES
from nfnets.models.variants import VARIANTS
from nfnets.models.zoo import Model

_SAM_MARK = '*'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """Rows of text under a header, and a line that says what they are."""

  header: tuple[str, ...]
  rows: Sequence[tuple[str, ...]]
  note: str

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

  def _aligned(self) -> list[list[str]]:
    lines = [self.header, *self.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
      [line[0].ljust(widths[0])]
      + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
      for line in lines
    ]


def zoo_table(costs: Mapping[str, Cost], size: int | None = None) -> Table:
  """One row for each network.

  Args:
    costs: of each network, by its name.
    size: side of the image that the multiply-adds are for; None for the network's test size.
  """
  published = [ACCURACIES[name] for name in costs if name in ACCURACIES]
  notes = [
    'Multiply-adds are counted for one image of ' + (f'{size} px.' if size else 'the test size.'),
    'Top-1 is the published accuracy on ImageNet in percent (arXiv 2102.06171, Table 3)'
    + (f'; {_SAM_MARK} trained with SAM.' if any(one.sam for one in published) else '.'),
    f'{len(costs)} {"network" if len(costs) == 1 else "networks"}.',
  ]
  return Table(
    header=('model', 'parameters', 'multiply-adds', 'train px', 'test px', 'top-1'),
    rows=[_zoo_row(name, cost) for name, cost in costs.items()],
    note=' '.join(notes if published else [notes[0], notes[-1]]),
  )


def _zoo_row(name: str, cost: Cost) -> tuple[str, ...]:
  variant, published = VARIANTS[name], ACCURACIES.get(name)
  return (
    name,
    f'{cost.parameters / 1e6:.2f} M',
    f'{cost.macs / 1e9:.2f} B',
    str(variant.train_size),
    str(variant.test_size),
    f'{published.top1:.1f}{_SAM_MARK if published.sam else ""}' if published else '',
  )


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
    header=('output', 'shape', 'parameters', 'multiply-adds'),
    rows=[
      (name, ' x '.join(map(str, shape)), f'{cost.parameters:,}', f'{cost.macs:,}')
      for name, shape, cost in parts
    ],
    note=f'{model.name}: {parameters:,} parameters, {macs:,} multiply-adds for one image of '
    f'{size or model.variant.test_size} px.',
  )
