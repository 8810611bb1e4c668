"""The learning curves of a run as a picture."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfnets.disk import write_whole

_Line = dict[str, Any]
_BLUE, _ORANGE, _GREEN, _BLACK = '#0072b2', '#d55e00', '#009e73', '#000000'
_PART = re.compile(r'clipped_(stem|stage_\d+|neck)')  # of the head it is one bias, all or nothing
_ORDER = ('stem', 'stage', 'neck')
_SIZE = (12.0, 7.0)  # inches


class _Curve(NamedTuple):
  kind: str
  metric: str
  label: str | None = None
  color: Any = _BLUE


_SCORES = (('train', '', 'training', _BLUE), ('eval', '', 'evaluation', _ORANGE),
           ('eval', 'ema_', 'evaluation,\naveraged parameters', _GREEN))  # fmt: skip


def draw_curves(lines: Sequence[_Line], path: Path) -> Path | None:
  """Draws what the lines of `metrics.jsonl` hold over the steps, into a PNG file.

  Returns:
    `path`, or None where there are no lines.
  """
  if not lines:
    return None
  figure = Figure(figsize=_SIZE, layout='constrained')
  (loss, accuracy), (rate, clipped) = figure.subplots(2, 2, sharex=True)
  _draw(loss, lines, 'loss', _scores('loss'))
  _draw(accuracy, lines, 'accuracy', _scores('accuracy'))
  _draw(rate, lines, 'learning rate', [_Curve('train', 'learning_rate')])
  _draw(clipped, lines, 'share of clipped units', _clipped(lines))
  clipped.set_yscale('symlog', linthresh=1e-3)  # in the stem there are few units, elsewhere many
  clipped.set_ylim(0, 1.2)
  clipped.yaxis.set_major_formatter('{x:g}')
  for axes in (accuracy, clipped):  # beside the data; that of the loss is the same
    axes.legend(loc='upper left', bbox_to_anchor=(1.0, 1.0), frameon=False)
  for axes in (rate, clipped):
    axes.set_xlabel('step')
  picture = io.BytesIO()
  figure.savefig(picture, format='png', dpi=100)
  write_whole(path, picture.getvalue())
  return path


def _scores(metric: str) -> list[_Curve]:
  return [_Curve(kind, before + metric, label, color) for kind, before, label, color in _SCORES]


def _clipped(lines: Sequence[_Line]) -> list[_Curve]:
  """That of all units in black, those of the parts in colours along the way through a network."""
  found = {match[1] for line in lines for name in line if (match := _PART.fullmatch(name))}
  parts = sorted(found, key=lambda part: (_ORDER.index(part.split('_')[0]), part))
  colors = colormaps['viridis'](np.linspace(0, 0.9, len(parts)))
  curves = [
    _Curve('train', f'clipped_{part}', part.replace('_', ' '), color)
    for part, color in zip(parts, colors, strict=True)
  ]
  return [*curves, _Curve('train', 'clipped', 'all', _BLACK)]


def _draw(axes: Axes, lines: Sequence[_Line], title: str, curves: Sequence[_Curve]) -> None:
  """One panel; a curve without points is in its legend all the same."""
  for kind, metric, label, color in curves:
    points = [(line['step'], line[metric]) for line in lines if _has(line, kind, metric)]
    marker = '.' if kind == 'eval' or len(points) == 1 else None
    steps, values = zip(*points, strict=True) if points else ((), ())
    axes.plot(steps, values, label=label, color=color, marker=marker)
  axes.set_title(title, loc='left')
  axes.spines[['top', 'right']].set_visible(False)
  axes.grid(alpha=0.25)


def _has(line: _Line, kind: str, metric: str) -> bool:
  return line['kind'] == kind and line.get(metric) is not None
