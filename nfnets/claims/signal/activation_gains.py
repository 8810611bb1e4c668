"""The gains gamma that make activations keep a variance of 1."""

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
  """One activation, in front of one layer."""

  activation: str
  width: int = 1024
  vectors: int = 4096
  seed: int = 0


def measure(cell: Cell, source: Source) -> Measured:
  """Gamma by quadrature, and what a layer of standardized weights makes of normal numbers."""
  del source
  activation = ACTIVATIONS[cell.activation]
  for_x, for_kernel = jax.random.split(jax.random.key(cell.seed))
  x = jax.random.normal(for_x, (cell.vectors, cell.width))
  kernel = SCALED(jax.random.normal(for_kernel, (cell.width, cell.width)), jnp.ones(cell.width))
  y = activation(x) @ kernel
  return {
    'exact': _variance(activation.function) ** -0.5,
    'used': activation.gamma,
    'variance_behind_activation': jnp.var(activation(x)),
    'variance_behind_layer': jnp.mean(jnp.var(y, 0)),
    'squared_mean_behind_layer': jnp.mean(jnp.mean(y, 0) ** 2),
  }


def _variance(function: Any) -> float:
  """Of the function of a standard normal number, by the trapezoidal rule."""
  x = np.linspace(-12, 12, 48_001)
  weights = np.exp(-(x**2) / 2)
  weights /= weights.sum()
  y = np.asarray(function(jnp.asarray(x, jnp.float32)), np.float64)
  return float(weights @ y**2 - (weights @ y) ** 2)


def judge(results: Results) -> Sequence[Check]:
  """The constants, and what they are for."""
  return [
    _worst(results, 'every gamma is within 0.1 % of its exact value', 0.001, _error),
    _worst(
      results,
      'the variance behind every activation is within 3 % of 1',
      0.03,
      lambda found: abs(found['variance_behind_activation'] - 1),
    ),
    _worst(
      results,
      'the variance behind a layer of scaled standardized weights is within 3 % of 1',
      0.03,
      lambda found: abs(found['variance_behind_layer'] - 1),
    ),
    _worst(
      results,
      'the mean square of the means behind it is below 1 % of the variance',
      0.01,
      lambda found: found['squared_mean_behind_layer'],
    ),
  ]


def _error(found: Measured) -> float:
  return abs(found['used'] / found['exact'] - 1)


def _worst(results: Results, asks: str, bound: float, deviation: Any) -> Check:
  name = max(results, key=lambda one: deviation(results[one]))
  worst = deviation(results[name])
  return Check(asks, f'at worst {worst:.3%} ({name})', worst < bound)


def draw(figure: Figure, results: Results) -> None:
  """How far each constant is from exact, and each layer from variance 1."""
  left, right = figure.subplots(1, 2, sharey=True)
  places, names = range(len(results)), list(results)
  found = [results[name] for name in names]
  left.plot(
    [100 * (one['used'] / one['exact'] - 1) for one in found], places, 'o', color=styles.COLOURS[0]
  )
  for key, colour, label in (
    ('variance_behind_activation', styles.COLOURS[0], 'behind the activation'),
    ('variance_behind_layer', styles.COLOURS[1], 'behind a layer'),
  ):
    right.plot([one[key] for one in found], places, 'o', color=colour, label=label)
  left.set_yticks(places, names)
  left.axvspan(-0.1, 0.1, color='#f0f0f0')
  left.set_xticks([-0.1, -0.05, 0, 0.05, 0.1])
  right.axvline(1, color='grey', linewidth=1, linestyle=(0, (4, 3)))
  styles.finish(left, x='gamma: % above the exact value', y='')
  styles.finish(right, x='variance', y='')
  right.legend(frameon=False, loc='upper left')


CLAIM = Claim(
  name='activation_gains',
  title='Activations with their gains keep the variance at 1',
  paper=SIGNAL,
  where='section 4 and appendix',
  says=(
    'Each activation g has a constant gain, the standard deviation of g of a normal number to the '
    'power of -1; with it, and with scaled weight standardization, a layer keeps variance 1 and '
    'mean 0.'
  ),
  rule=(
    'Every constant is within 0.1 % of the value by quadrature; behind each scaled activation of '
    'normal numbers, and behind a layer of 1024 units with scaled standardized weights, the '
    'variance is within 3 % of 1; the means of the units have a mean square below 0.01.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.SECONDS, cells={name: Cell(name) for name in ACTIVATIONS}),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
