"""Rows of small pictures under their names: what an augmentation makes of a photograph."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

# Inches.
_SIDE, _GAP = 1.1, 0.06
_NAME, _ROW = 1.05, 1.33
_BETWEEN, _MARGIN, _FOOT = 0.35, 0.12, 0.3
_FONT, _SMALL = 9, 7.5  # points
_DPI = 100
_DIM = '#555555'


class Row(NamedTuple):
  """Pictures that belong together."""

  title: str
  pictures: Sequence[np.ndarray]
  """uint8 [S, S, 3]."""
  captions: Sequence[str]
  """One below each picture."""


def plot_rows(rows: Sequence[Row], path: str | Path, *, columns: int = 2, note: str = '') -> Path:
  """Draws rows of pictures, one below the other and then the next column, into a PNG file.

  Args:
    rows: what is drawn.
    path: of the file.
    columns: how many rows stand side by side.
    note: a line below them all.

  Returns:
    `path`.
  """
  deep = -(-len(rows) // columns)
  most = max(len(row.pictures) for row in rows)
  column = _NAME + most * (_SIDE + _GAP) + _BETWEEN
  width, height = columns * column - _BETWEEN + 2 * _MARGIN, deep * _ROW + 2 * _MARGIN + _FOOT
  figure = Figure(figsize=(width, height))

  def text(x: float, y: float, words: str, **style: object) -> None:
    figure.text(x / width, 1 - y / height, words, parse_math=False, **style)  # pyright: ignore

  for i, row in enumerate(rows):
    x, y = _MARGIN + i // deep * column, _MARGIN + i % deep * _ROW
    text(x, y + _SIDE / 2, row.title, fontsize=_FONT, weight='bold', va='center')
    for j, (picture, caption) in enumerate(zip(row.pictures, row.captions, strict=True)):
      left = x + _NAME + j * (_SIDE + _GAP)
      place = (left / width, 1 - (y + _SIDE) / height, _SIDE / width, _SIDE / height)
      axes = figure.add_axes(place)
      axes.imshow(picture, interpolation='lanczos')
      axes.set_axis_off()
      middle = left + _SIDE / 2
      text(middle, y + _SIDE + 0.03, caption, fontsize=_SMALL, color=_DIM, ha='center', va='top')
  text(_MARGIN, height - _MARGIN, note, fontsize=_SMALL, color=_DIM, va='bottom')
  path = Path(path)
  figure.savefig(path, dpi=_DPI)
  return path
