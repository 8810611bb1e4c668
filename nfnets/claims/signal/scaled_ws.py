"""Scaled weight standardization: no means, variance 1, wherever training takes the weights."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets.claims import styles
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import SIGNAL
from nfnets.models.activations import ACTIVATIONS
from nfnets.models.standardization import SCALED


class Cell(NamedTuple):
  """One layer behind a scaled ReLU of normal numbers."""

  standardized: bool
  factor: float = 1.0
  """What the kernel is multiplied by, as training might in the long run."""
  shift: float = 0.0
  """What is added to it, in its standard deviations."""
  width: int = 1024
  vectors: int = 4096
  seed: int = 0


def measure(cell: Cell, source: Source) -> Measured:
  """Mean and variance of each unit over the vectors."""
  del source
  for_x, for_kernel = jax.random.split(jax.random.key(cell.seed))
  x = ACTIVATIONS['relu'](jax.random.normal(for_x, (cell.vectors, cell.width)))
  kernel = jax.random.normal(for_kernel, (cell.width, cell.width))
  kernel = cell.factor * (kernel + cell.shift) * cell.width**-0.5
  if cell.standardized:
    kernel = SCALED(kernel, jnp.ones(cell.width))
  y = x @ kernel
  return {'means': jnp.mean(y, 0)[:256], 'variances': jnp.var(y, 0)[:256]}


def judge(results: Results) -> Sequence[Check]:
  """Units with standardized weights, beside those without."""
  normal = _square(results['normal'])
  return [
    *_as_wanted(results, 'standardized'),
    *_as_wanted(results, 'moved_standardized'),
    Check(
      'without it the mean square of the means is at least a fifth of the variance',
      f'{normal:.3f} of {_variance(results["normal"]):.3f}',
      normal >= 0.2 * _variance(results['normal']),
    ),
  ]


def _as_wanted(results: Results, name: str) -> Sequence[Check]:
  variance, square = _variance(results[name]), _square(results[name])
  return (
    Check(
      f'{name}: the mean variance of the units is 1 within 0.05',
      f'{variance:.4f}',
      abs(variance - 1) <= 0.05,
    ),
    Check(
      f'{name}: the mean square of their means is at most 0.01', f'{square:.5f}', square <= 0.01
    ),
  )


def _variance(measured: Measured) -> float:
  return float(np.mean(measured['variances']))


def _square(measured: Measured) -> float:
  return float(np.mean(np.square(measured['means'])))


def draw(figure: Figure, results: Results) -> None:
  """Each unit by its mean and variance."""
  axes: Any = figure.subplots()
  for (name, measured), colour in zip(results.items(), styles.COLOURS, strict=False):
    axes.plot(
      measured['means'], measured['variances'],
      'o', markersize=3, alpha=0.6, color=colour, label=name.replace('_', ', '),
    )  # fmt: skip
  axes.set_xscale('symlog', linthresh=1)
  axes.set_yscale('log')
  styles.finish(axes, x='mean of a unit', y='variance of a unit')
  axes.legend(frameon=False)


CLAIM = Claim(
  name='scaled_ws',
  title='Units with scaled standardized weights have mean 0 and variance 1, and keep them',
  paper=SIGNAL,
  where='section 4',
  says=(
    'Behind a ReLU the inputs of a layer have a mean, which gives each unit a mean of its own. '
    'Weights of mean 0 and variance 1/fan-in prevent it; standardization imposes them throughout '
    'training, whatever becomes of the parameters.'
  ),
  rule=(
    'Behind a scaled ReLU of normal numbers the mean variance of 1024 units is 1 within 0.05 and '
    'the mean square of their means at most 0.01, also when all parameters are moved by their '
    'standard deviation and tripled; with weights that are just normal, it is a fifth of the '
    'variance or more.'
  ),
  settings={
    Scale.CPU: Setting(
      cost=Cost.SECONDS,
      cells={
        'normal': Cell(standardized=False),
        'standardized': Cell(standardized=True),
        'moved_normal': Cell(standardized=False, factor=3.0, shift=1.0),
        'moved_standardized': Cell(standardized=True, factor=3.0, shift=1.0),
      },
    ),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
