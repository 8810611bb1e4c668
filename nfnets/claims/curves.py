"""Several curves over one quantity."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from nfnets.claims.styles import COLOURS, finish

MARKERS = 'osD^vP'


def draw_curves(
  axes: Axes,
  curves: Mapping[str, tuple[Any, Any]],
  *,
  x: str,
  y: str,
  log_x: bool = False,
  log_y: bool = False,
) -> None:
  """One line with markers for each name; what is not finite is left out.

  Args:
    axes: where to.
    curves: x and y, by what the legend calls them.
    x: label of the horizontal axis.
    y: likewise.
    log_x: whether that axis is logarithmic, with ticks at the values there are.
    log_y: whether the other one is.
  """
  for number, (name, (xs, ys)) in enumerate(curves.items()):
    axes.plot(
      xs, ys, label=name, color=COLOURS[number % len(COLOURS)], linewidth=1.5, markersize=4,
      marker=MARKERS[number % len(MARKERS)],
    )  # fmt: skip
  if log_x:
    ticks = sorted({value for xs, _ in curves.values() for value in xs})
    axes.set_xscale('log')
    axes.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
    axes.minorticks_off()
  if log_y:
    axes.set_yscale('log')
  finish(axes, x=x, y=y)
  axes.legend(frameon=False, fontsize='small')
