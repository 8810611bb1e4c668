"""Photographs and what a network sees in them, as a picture."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MOST = 24
"""Photographs on one picture."""
THUMBNAIL = 640
"""Longest side, in pixels, at which a photograph is shown."""

# (left, top, width, height) on a card, in inches.
_PHOTO = (0.2, 0.42, 2.0, 1.7)
_BARS = (2.4, 0.42, 2.9, 1.7)
_TITLE = (0.2, 0.3)
_CARD_WIDTH, _CARD_HEIGHT, _MARGIN = 5.3, 2.2, 0.1
_ALONE = 1.5  # how much larger a photograph is shown that has the picture for itself
_DPI = 150

_FONT = 8.5  # points
_ROOM, _MOST_BARS = 5, 10  # bars of the usual height; those of half of it
_LONGEST_TITLE, _LONGEST_LABEL = 58, 34  # characters
# Tints of Okabe and Ito's blue, light enough for black letters on them.
_FIRST, _OTHERS, _EMPTY = '#7fb8d9', '#cfe3f0', '#f4f4f4'


class Card(NamedTuple):
  """One photograph."""

  title: str
  pixels: np.ndarray
  """uint8 [H, W, 3]."""
  bars: Sequence[tuple[str, float]]
  """(label, probability), the most probable first; ten are drawn."""


def plot_predictions(cards: Sequence[Card], path: str | Path) -> Path:
  """Draws every photograph with a bar for each of its classes beside it, into a PNG file.

  Args:
    cards: one photograph or several, `MOST` at most; they stand in rows, from left to right.
    path: of the file.

  Returns:
    `path`.
  """
  columns = 1 if len(cards) == 1 else 2 if len(cards) <= 8 else 3
  rows = -(-len(cards) // columns)
  scale = _ALONE if len(cards) == 1 else 1
  width, height = columns * _CARD_WIDTH + _MARGIN, rows * _CARD_HEIGHT + _MARGIN
  figure = Figure(figsize=(scale * width, scale * height))
  for i, card in enumerate(cards):
    row, column = divmod(i, columns)
    _draw(figure, card, (column * _CARD_WIDTH, row * _CARD_HEIGHT), (width, height), scale)
  path = Path(path)
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'Glyph')  # a file may have a name that the font has not
    figure.savefig(path, dpi=_DPI)
  return path


def _draw(
  figure: Figure,
  card: Card,
  corner: tuple[float, float],
  size: tuple[float, float],
  scale: float,
) -> None:
  """One card; its corner and the size of the picture are in inches, before they are scaled."""

  def axes(place: tuple[float, float, float, float]) -> Axes:
    left, top, width, height = place
    bottom = size[1] - corner[1] - top - height
    part = (
      *((corner[0] + left) / size[0], bottom / size[1]),
      *(width / size[0], height / size[1]),
    )
    return figure.add_axes(part)

  figure.text(
    (corner[0] + _TITLE[0]) / size[0],
    1 - (corner[1] + _TITLE[1]) / size[1],
    _shortened(card.title, _LONGEST_TITLE, keep_end=True),
    weight='bold',
    fontsize=_FONT * scale,
    parse_math=False,
  )
  photo = axes(_PHOTO)
  photo.imshow(card.pixels)
  photo.set_anchor('NW')
  photo.set_axis_off()
  _draw_bars(axes(_BARS), card.bars[:_MOST_BARS], _FONT * scale)


def _draw_bars(axes: Axes, bars: Sequence[tuple[str, float]], font: float) -> None:
  room = max(len(bars), _ROOM)
  style = {'fontsize': font * (_ROOM / room), 'va': 'center_baseline', 'parse_math': False}
  for place, (label, share) in enumerate(bars):
    first = place == 0
    (whole,) = axes.barh(place, 1, color=_EMPTY, linewidth=0)
    axes.barh(place, share, color=_FIRST if first else _OTHERS, linewidth=0)
    weight = 'bold' if first else 'normal'
    text = _shortened(label, _LONGEST_LABEL, keep_end=False)
    axes.text(0.02, place, text, weight=weight, clip_on=True, **style).set_clip_path(whole)
    axes.text(1.25, place, f'{share:.1%}', weight=weight, ha='right', **style)
  axes.set_xlim(0, 1.26)
  axes.set_ylim(room - 0.6, -0.4)  # flush with the edges of the photograph
  axes.set_axis_off()


def _shortened(text: str, longest: int, *, keep_end: bool) -> str:
  """One line of at most `longest` characters; of a path the end says more than the start."""
  line = ' '.join(text.split())
  if len(line) <= longest:
    return line
  return f'…{line[1 - longest :]}' if keep_end else f'{line[: longest - 1]}…'
