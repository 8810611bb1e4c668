"""What a claim is: cells to measure one by one, a rule that was fixed before, and a picture."""

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from matplotlib.figure import Figure

from nfnets.claims.papers import Paper

S = TypeVar('S')  # a cell

Measured = Mapping[str, Any]
"""What a cell found, by name: numbers, texts, and lists of them, as JSON keeps them.

A number that is not finite is a finding too: a network that diverged.
"""
Results = Mapping[str, Measured]
"""What was found so far, cell by cell."""


class Scale(enum.StrEnum):
  """How large a claim is tried."""

  CPU = enum.auto()
  GPU = enum.auto()


class Cost(enum.StrEnum):
  """What trying it takes."""

  SECONDS = 'seconds on a CPU'
  MINUTES = 'minutes on a CPU'
  GPU = 'a session on a GPU'


class Check(NamedTuple):
  """One comparison of a rule."""

  asks: str
  """What must hold, with its bound: 'slope of the variance between 0.95 and 1.05'."""
  found: str
  """The numbers that decide it, for people."""
  holds: bool


class Source(NamedTuple):
  """Where cells take their images from, and whom they tell how far they are."""

  data_dir: Path
  tell: Callable[[int, int], None]
  """(steps done, steps in all)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting(Generic[S]):
  """What is tried at one scale."""

  cost: Cost
  cells: Mapping[str, S]
  """By name, in the order to run them.  What a cell holds says all that its figures depend on,
  seeds and the dataset included, and its `repr` tells whether it has changed."""
  dataset: str | None = None
  """TFDS name of the images that the cells are given; None for none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim(Generic[S]):
  """A sentence of a paper that can be tried here.

  Cells are measured independently of each other, and each is kept as soon as it is there: a run
  that was interrupted goes on with the next.
  """

  name: str
  """What the command calls it: words joined by underscores."""
  title: str
  paper: Paper
  where: str
  """In the paper: 'Figure 2a', 'section 4.1'."""
  says: str
  """What the paper claims, in a sentence or two of our own."""
  rule: str
  """What must be found for it to pass at these scales, in words; fixed before it was run."""
  settings: Mapping[Scale, Setting[S]]
  measure: Callable[[S, Source], Measured]
  """(cell, images) -> what it found.  The same cell finds the same on the same machine."""
  judge: Callable[[Results], Sequence[Check]]
  """Given all cells; it passes if every check holds."""
  draw: Callable[[Figure, Results], None]
  """Draws what all cells found."""
