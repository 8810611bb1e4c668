"""Squeeze-Excite with its factor of 2 keeps the size of the signal."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets.claims import styles
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import NFNETS
from nfnets.models.attention import SqueezeExcite


class Cell(NamedTuple):
  """A gate for maps of variance 1."""

  gain: float
  alike: bool
  """Whether all positions of a map have the same value, the most that a gate can go by."""
  channels: int = 512
  ratio: float = 0.5
  images: int = 256
  size: int = 7
  seed: int = 0


def measure(cell: Cell, source: Source) -> Measured:
  """The variance behind the gate, and the gates."""
  del source
  network = hk.without_apply_rng(
    hk.transform(lambda x: SqueezeExcite(cell.channels, cell.ratio, gain=cell.gain)(x))
  )
  for_params, for_x = jax.random.split(jax.random.key(cell.seed))
  side = 1 if cell.alike else cell.size
  x = jax.random.normal(for_x, (cell.images, side, side, cell.channels))
  x = jnp.broadcast_to(x, (cell.images, cell.size, cell.size, cell.channels))
  y = network.apply(network.init(for_params, x), x)
  gates = (y / x)[:, 0, 0]
  return {
    'variance': jnp.mean(jnp.var(y, (0, 1, 2))) / jnp.mean(jnp.var(x, (0, 1, 2))),
    'gates': np.quantile(gates, np.linspace(0, 1, 101)),
  }


def judge(results: Results) -> Sequence[Check]:
  """With the factor and without."""
  return [
    *(
      Check(
        f'{name}: with the factor the variance is kept within 10 %',
        f'{results[name]["variance"]:.3f} of it',
        abs(results[name]['variance'] - 1) <= 0.1,
      )
      for name in ('doubled_noise', 'doubled_alike')
    ),
    *(
      Check(
        f'{name}: without it a quarter is left, within 10 %',
        f'{results[name]["variance"]:.3f} of it',
        abs(results[name]['variance'] * 4 - 1) <= 0.1,
      )
      for name in ('plain_noise', 'plain_alike')
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """How the gates are distributed."""
  axes: Any = figure.subplots()
  for (name, measured), colour in zip(results.items(), styles.COLOURS, strict=False):
    label = f'{name.replace("_", ", ")}: variance {measured["variance"]:.2f}'
    axes.plot(measured['gates'], np.linspace(0, 1, 101), color=colour, label=label)
  styles.finish(axes, x='gate, with its factor', y='share of the gates below')
  axes.legend(frameon=False)


CLAIM = Claim(
  name='squeeze_excite_scale',
  title='Squeeze-Excite times 2 keeps the variance',
  paper=NFNETS,
  where='Appendix C',
  says=(
    'The sigmoid of Squeeze-Excite is about one half at initialization, which would shrink the '
    'signal; the factor of 2 keeps its variance.'
  ),
  rule=(
    'At initialization, for maps of normal numbers of variance 1, all independent or all positions '
    'alike, the variance behind Squeeze-Excite times 2 is 1 within 10 %; without the factor it is '
    'a quarter within 10 %.'
  ),
  settings={
    Scale.CPU: Setting(
      cost=Cost.SECONDS,
      cells={
        'doubled_noise': Cell(gain=2.0, alike=False),
        'doubled_alike': Cell(gain=2.0, alike=True),
        'plain_noise': Cell(gain=1.0, alike=False),
        'plain_alike': Cell(gain=1.0, alike=True),
      },
    ),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
