"""How the pictures of claims look."""

from matplotlib.axes import Axes

COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
"""Those of Okabe and Ito, which everybody tells apart."""


def finish(axes: Axes, *, x: str, y: str, title: str = '') -> None:
  """Names both axes, and leaves out what says nothing."""
  axes.set_xlabel(x)
  axes.set_ylabel(y)
  axes.set_title(title, loc='left', fontsize='medium')
  axes.spines[['top', 'right']].set_visible(False)
  axes.grid(axis='y', alpha=0.25)
