"""Signal propagation plots as pictures (Brock et al. 2021, arXiv 2101.08692, section 3)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nfnets.models.signal_prediction import Prediction
from nfnets.models.signals import Signals

# (field, heading)
_PANELS = (
  ('squared_mean', 'average channel squared mean'),
  ('variance', 'average channel variance'),
  ('branch_variance', 'average channel variance of the branch'),
)

# Blue and vermilion of Okabe and Ito: everybody tells them apart.
_MEASURED: dict[str, Any] = {
  'label': 'measured', 'color': '#0072b2', 'marker': 'o', 'markersize': 4, 'linewidth': 0,
  'zorder': 3,
}  # fmt: skip
_PREDICTED: dict[str, Any] = {
  'label': 'predicted', 'color': '#d55e00', 'linewidth': 1.5,
  'marker': '_',  # seen where the neighbours are not predicted
}  # fmt: skip
_ASSUMED: dict[str, Any] = {
  'label': 'assumed by the betas', 'color': 'black', 'linewidth': 1, 'linestyle': (0, (4, 3)),
}  # fmt: skip
_EVERY_OTHER_STAGE = '#f0f0f0'

_WIDTH, _ROW_HEIGHT, _LEGEND_HEIGHT = 11.0, 2.8, 0.4  # inches
_LOGARITHMIC_FROM = 20.0  # largest over least value of a curve


class Network(NamedTuple):
  """One row of a picture."""

  title: str
  signals: Signals
  prediction: Prediction | None = None


def plot_signals(
  signals: Signals, prediction: Prediction | None, path: str | Path, title: str
) -> Path:
  """Draws the three curves of one network against the block index, into a PNG file.

  Args:
    signals: what was measured.
    prediction: drawn beside it, the stages as bands behind; None for neither.
    path: of the file.
    title: of the picture.

  Returns:
    `path`.
  """
  return plot_networks([Network(title, signals, prediction)], path)


def plot_networks(networks: Sequence[Network], path: str | Path) -> Path:
  """Draws the curves of several networks, a row each, into a PNG file."""
  size = (_WIDTH, _ROW_HEIGHT * len(networks) + _LEGEND_HEIGHT)
  figure = Figure(figsize=size, layout='constrained')
  legend = {}
  parts = figure.subfigures(len(networks), 1, squeeze=False).flat
  for part, network in zip(parts, networks, strict=True):
    part.suptitle(network.title, x=0.01, ha='left', weight='bold')
    row = part.subplots(1, len(_PANELS))
    _draw(row, network)
    for axes in row:
      handles, labels = axes.get_legend_handles_labels()
      legend |= dict(zip(labels, handles, strict=True))
  figure.legend(
    legend.values(), legend, loc='outside lower center', ncols=len(legend), frameon=False
  )
  path = Path(path)
  figure.savefig(path, dpi=100)
  return path


def _draw(row: Sequence[Axes], network: Network) -> None:
  scales = []
  for axes, (field, heading) in zip(row, _PANELS, strict=True):
    curves = list(_curves(network, field))
    for values, style in curves:
      axes.plot(values, **style)
    scales.append(np.concatenate([values for values, _ in curves]))
    if network.prediction:
      _shade(axes, network.prediction.stages)
    axes.set_title(heading, loc='left', fontsize='medium')
    axes.set_xlabel('block')
    axes.set_xlim(-0.5, len(curves[0][0]) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(axis='y', alpha=0.25)
  squared_mean, variance, branch_variance = scales
  # One scale for mean and variance: which is larger is what the plot is made for.
  for axes in row[:2]:
    _scale(axes, squared_mean, variance)
  _scale(row[2], branch_variance)


def _curves(network: Network, field: str) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
  """What one panel shows: values and style."""
  signals, prediction = network.signals, network.prediction
  yield getattr(signals, field), _MEASURED
  if prediction is None:
    return
  known = [(getattr(prediction, field), _PREDICTED)]
  if field == 'variance':
    known.append((prediction.assumed_variance, _ASSUMED))
  yield from ((values, style) for values, style in known if np.isfinite(values).any())


def _shade(axes: Axes, stages: np.ndarray) -> None:
  """A band behind every other stage."""
  for stage in range(1, int(stages.max()) + 1, 2):
    (blocks,) = np.nonzero(stages == stage)
    axes.axvspan(blocks[0] - 0.5, blocks[-1] + 0.5, color=_EVERY_OTHER_STAGE, zorder=0, linewidth=0)


def _scale(axes: Axes, *curves: np.ndarray) -> None:
  """Logarithmic where the last of the curves spans more than a linear scale shows."""
  positive = [curve[np.isfinite(curve) & (curve > 0)] for curve in curves]
  decisive, everything = positive[-1], np.concatenate(positive)
  if decisive.size and decisive.max() > _LOGARITHMIC_FROM * decisive.min():
    axes.set_yscale('log')
    axes.set_ylim(everything.min() / 2, everything.max() * 2)
  else:
    axes.set_ylim(0, 1.1 * everything.max() if everything.size else 1)
