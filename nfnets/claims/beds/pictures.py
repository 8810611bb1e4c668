"""The drawings that claims share: curves over a quantity, and values by name."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from nfnets.claims.styles import COLOURS, finish

_MARKERS = 'osD^vP'
_MOST_MARKS = 40  # on a line

_Numbers = Sequence[float] | np.ndarray
Curve = tuple[_Numbers, _Numbers]
"""x and y."""


def draw_curves(
  axes: Axes,
  curves: Mapping[str, Curve],
  *,
  x: str,
  y: str,
  log_x: bool = False,
  log_y: bool = False,
) -> None:
  """One line for each name; what is not finite is left out.

  Args:
    axes: where to.
    curves: by what the legend calls them.
    x: label of the horizontal axis, with its unit.
    y: likewise.
    log_x: whether that axis is logarithmic, with ticks at the values there are.
    log_y: whether the other one is.
  """
  for number, (name, (xs, ys)) in enumerate(curves.items()):
    axes.plot(
      xs,
      ys,
      label=name,
      color=COLOURS[number % len(COLOURS)],
      marker=_MARKERS[number % len(_MARKERS)] if len(xs) <= _MOST_MARKS else '',
      markersize=4,
      linewidth=1.5,
    )
  if log_x:
    axes.set_xscale('log', base=2)
    ticks = sorted({value for xs, _ in curves.values() for value in xs})
    axes.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
    axes.minorticks_off()
  if log_y:
    axes.set_yscale('log')
  finish(axes, x=x, y=y)
  if len(curves) > 1:
    axes.legend(frameon=False, fontsize='small')


def draw_values(axes: Axes, values: Mapping[str, Sequence[float]], *, y: str) -> None:
  """For each name a bar as high as the mean, and a dot for each value, such as those of seeds.

  Args:
    axes: where to.
    values: by the name below the bar.
    y: label of the vertical axis, with its unit.
  """
  names = list(values)
  for place, name in enumerate(names):
    finite = [value for value in values[name] if np.isfinite(value)]
    if finite:
      axes.bar(place, float(np.mean(finite)), width=0.6, color=COLOURS[0], alpha=0.35)
    axes.plot([place] * len(finite), finite, 'o', color=COLOURS[0], markersize=4)
  axes.set_xticks(range(len(names)), names)
  finish(axes, x='', y=y)
