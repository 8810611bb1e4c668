"""A claim that is quick to try."""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure

from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import NFNETS


@dataclasses.dataclass(frozen=True)
class Cell:
  number: float


def measure(cell: Cell, source: Source) -> Measured:
  source.tell(1, 2)
  return {'square': cell.number**2, 'places': [str(source.data_dir)]}


def judge(results: Results) -> Sequence[Check]:
  four = results['two']['square']
  return [
    Check('the square of 2 is 4', f'{four:g}', four == 4),
    Check('no square is | negative', '', all(found['square'] >= 0 for found in results.values())),
  ]


def draw(figure: Figure, results: Results) -> None:
  figure.subplots().plot([found['square'] for found in results.values()])


CLAIM = Claim(
  name='squares',
  title='Squares grow',
  paper=NFNETS,
  where='Figure 0',
  says='Squares grow.',
  rule='The square of 2 is 4.',
  settings={
    Scale.CPU: Setting(cost=Cost.SECONDS, cells={'two': Cell(2.0), 'three': Cell(3.0)}),
    Scale.GPU: Setting(cost=Cost.GPU, cells={'two': Cell(2.0)}),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)


def with_cells(**cells: Cell) -> Claim:
  """The claim with other cells on a CPU."""
  setting = dataclasses.replace(CLAIM.settings[Scale.CPU], cells=cells)
  return dataclasses.replace(CLAIM, settings={Scale.CPU: setting})
