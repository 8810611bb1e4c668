"""What the claims about signal propagation share: networks of the zoo, measured block by block."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfnets.claims import styles
from nfnets.claims.claim import Measured, Results, Source
from nfnets.models.signal_prediction import predict_signals
from nfnets.models.signals import Signals, signal_propagation
from nfnets.models.zoo import create_model

_POINTS: dict[str, Any] = {'marker': 'o', 'markersize': 3, 'linewidth': 0}
_EVERY_OTHER_STAGE = '#f0f0f0'
_LOGARITHMIC_FROM = 100.0  # largest over least value of a curve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """A network at initialization, and standard normal images for it."""

  model: str
  skip_gain: float | None = None
  """For networks that have it."""
  size: int
  """Side of the images in pixels."""
  batch: int = 8
  seed: int = 0
  kernel_scale: float = 1.0
  """What all kernels are multiplied by: the zoo's first values are not He's in every family."""


def measure(cell: Cell, source: Source) -> Measured:
  """The three curves of a signal propagation plot, with the stage of each block."""
  del source
  model = create_model(cell.model, skip_gain=cell.skip_gain)
  for_params, for_images = jax.random.split(jax.random.key(cell.seed))
  params, state = model.init(for_params)
  params = {
    path: {name: w * cell.kernel_scale if name == 'w' else w for name, w in module.items()}
    for path, module in params.items()
  }
  images = jax.random.normal(for_images, (cell.batch, cell.size, cell.size, 3))
  signals = signal_propagation(model, params, images, state=state)
  predicted = predict_signals(model, cell.size)
  return as_measured(signals, predicted.stages) | {'assumed_variance': predicted.assumed_variance}


def as_measured(signals: Signals, stages: Sequence[int] | np.ndarray) -> dict[str, Any]:
  """The curves by name."""
  return {
    'squared_mean': signals.squared_mean,
    'variance': signals.variance,
    'branch_variance': signals.branch_variance,
    'stages': stages,
  }


def curve(measured: Measured, name: str) -> np.ndarray:
  """[blocks] one of the curves."""
  return np.asarray(measured[name], np.float64)


def by_stage(measured: Measured, name: str) -> list[np.ndarray]:
  """One of the curves, cut into the stages."""
  stages = np.asarray(measured['stages'])
  return [curve(measured, name)[stages == stage] for stage in np.unique(stages)]


def draw(figure: Figure, results: Results) -> None:
  """A row of two panels for each cell: the signal, and the end of the branches."""
  figure.set_size_inches(9, 2.4 * len(results) + 0.8)
  parts: Any = figure.subfigures(len(results), 1, squeeze=False)
  legend: dict[str, Any] = {}
  for part, (name, measured) in zip(parts.flat, results.items(), strict=True):
    part.suptitle(name, x=0.01, ha='left', weight='bold', fontsize='medium')
    left, right = part.subplots(1, 2)
    _draw_signal(left, measured)
    _draw_branches(right, measured)
    handles, labels = left.get_legend_handles_labels()
    legend |= dict(zip(labels, handles, strict=True))
  figure.legend(
    legend.values(), legend, loc='outside lower center', ncols=len(legend), frameon=False
  )


def _draw_signal(axes: Axes, measured: Measured) -> None:
  variance = curve(measured, 'variance')
  axes.plot(variance, color=styles.COLOURS[0], label='average channel variance', **_POINTS)
  axes.plot(
    curve(measured, 'squared_mean'),
    color=styles.COLOURS[1], label='average channel squared mean', **_POINTS,
  )  # fmt: skip
  if np.isfinite(measured.get('assumed_variance', [np.nan])).any():
    axes.plot(
      measured['assumed_variance'],
      color='black', linewidth=1, linestyle=(0, (4, 3)), label='the recursion',
    )  # fmt: skip
  if variance.max() > _LOGARITHMIC_FROM * variance.min():
    axes.set_yscale('log')
  _shade(axes, np.asarray(measured['stages']))
  styles.finish(axes, x='block', y='')


def _draw_branches(axes: Axes, measured: Measured) -> None:
  branch = curve(measured, 'branch_variance')
  axes.plot(branch, color=styles.COLOURS[0], **_POINTS)
  if branch.max() > _LOGARITHMIC_FROM * branch.min():
    axes.set_yscale('log')
  else:
    axes.set_ylim(0, 1.2 * branch.max())
  _shade(axes, np.asarray(measured['stages']))
  styles.finish(axes, x='block', y='', title='variance at the end of the branch')


def _shade(axes: Axes, stages: np.ndarray) -> None:
  """A band behind every other stage."""
  for stage in np.unique(stages)[1::2]:
    (blocks,) = np.nonzero(stages == stage)
    axes.axvspan(blocks[0] - 0.5, blocks[-1] + 0.5, color=_EVERY_OTHER_STAGE, zorder=0, linewidth=0)
