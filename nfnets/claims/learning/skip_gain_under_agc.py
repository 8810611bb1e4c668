"""A gain that starts at zero is slow under AGC: the trap of short runs."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from nfnets.claims.beds.pictures import draw_curves
from nfnets.claims.beds.runs import Run, score_run
from nfnets.claims.beds.sizes import CPU, GPU, Bed
from nfnets.claims.beds.training import train
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import NFNETS
from nfnets.optim.masks import SKIP_GAIN
from nfnets.optim.optimizers import sgd_agc

_MOMENTUM, _EPS = 0.9, 1e-3
_TARGETS = (0.1, 1.0)
_CLIPPED, _SPARED, _PLAIN = 'AGC', 'AGC, skip gains unclipped', 'no AGC'


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Climb:
  """A gain whose gradient always points up, under the optimizer."""

  rate: float
  clipping: float
  steps: int = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Training:
  """A network whose gains are watched while it is trained."""

  run: Run


_Cell = _Climb | _Training


def _climbs() -> dict[str, _Cell]:
  return {
    f'rate {rate:g} clipping {clipping:g}': _Climb(rate=rate, clipping=clipping)
    for rate in (0.05, 0.1, 0.4, 1.6)
    for clipping in (0.01, 0.16)
  }


def _trainings(bed: Bed, batch: int, steps: int) -> dict[str, _Cell]:
  net = dataclasses.replace(bed.nf, skip_gain=0.0)
  run = bed.run(net, batch, clipping=0.01)
  recipe = dataclasses.replace(
    run.recipe, steps=steps, learning_rate=0.1, constant_rate=True, warmup_steps=0
  )
  recipes = {
    _CLIPPED: recipe,
    _SPARED: dataclasses.replace(recipe, clip_skip_gains=False),
    _PLAIN: dataclasses.replace(recipe, clipping=None),
  }
  return {
    name: _Training(run=dataclasses.replace(run, recipe=recipe)) for name, recipe in recipes.items()
  }


def highest(rate: float, clipping: float, steps: int) -> np.ndarray:
  """[steps]: how far a gain that starts at zero can be from it after each step, at most.

  The gradient is then always as large as AGC lets it be, and always of the same sign.
  """
  gain = velocity = 0.0
  reached = []
  for _ in range(steps):
    gradient = clipping * max(gain, _EPS)
    velocity = _MOMENTUM * velocity + gradient
    gain += rate * (gradient + _MOMENTUM * velocity)
    reached.append(gain)
  return np.asarray(reached)


def _first_at(reached: np.ndarray, target: float) -> int:
  """The number of the first step after which `target` is reached; 0 if none."""
  at = reached >= target
  return int(np.argmax(at)) + 1 if at.any() else 0


def _measure(cell: _Cell, source: Source) -> Measured:
  return _climb(cell) if isinstance(cell, _Climb) else _train(cell, source)


def _climb(cell: _Climb) -> Measured:
  optimizer = sgd_agc(
    cell.rate, momentum=_MOMENTUM, weight_decay=0.0, clipping=cell.clipping, clip_eps=_EPS
  )
  params = {'NFNet/~/nf_block': {SKIP_GAIN: jnp.zeros(())}}

  def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], jax.Array]:
    params, state = carry
    updates, state = optimizer.update(
      jax.tree.map(lambda x: -jnp.ones_like(x), params), state, params
    )
    params = optax.apply_updates(params, updates)
    return (params, state), jax.tree.leaves(params)[0]

  _, gains = jax.lax.scan(step, (params, optimizer.init(params)), None, length=cell.steps)
  gains = np.asarray(gains)
  bound = highest(cell.rate, cell.clipping, cell.steps)
  return {
    'took': [_first_at(gains, target) for target in _TARGETS],
    'predicted': [_first_at(bound, target) for target in _TARGETS],
  }


def _train(cell: _Training, source: Source) -> Measured:
  images = cell.run.images(source)
  model, recipe = cell.run.model(images), cell.run.recipe
  largest: list[float] = []

  def watch(steps: int, params: Any, state: Any) -> None:
    del steps, state
    gains = [float(abs(leaves[SKIP_GAIN])) for leaves in params.values() if SKIP_GAIN in leaves]
    largest.append(max(gains))

  every = range(1, recipe.steps + 1)
  trained = train(model, images, recipe, tell=source.tell, watch=watch, watch_at=every)
  return {
    'largest_gain': largest,
    'bound': highest(recipe.learning_rate, recipe.clipping or 1.0, recipe.steps).tolist(),
    **score_run(model, images, trained),
  }


def _judge(results: Results) -> list[Check]:
  climbs = {cell: found for cell, found in results.items() if 'took' in found}
  clipped = results[_CLIPPED]
  gains, bound = np.asarray(clipped['largest_gain']), np.asarray(clipped['bound'])
  share = float(np.max(gains / bound[: len(gains)]))
  last = {name: results[name]['largest_gain'][-1] for name in (_CLIPPED, _SPARED)}
  return [
    Check(
      'gains whose gradient always points up reach 0.1 and 1 in just the computed steps',
      '; '.join(f'{cell}: {found["took"]}' for cell, found in climbs.items()),
      all(found['took'] == found['predicted'] and min(found['took']) for found in climbs.values()),
    ),
    Check(
      'while a network is trained, no gain is ever farther from zero than computed',
      f'at most {share:.3f} of the bound',
      share <= 1.0001,
    ),
    Check(
      f'after {len(gains)} steps the largest gain is below 0.1; unclipped it is ten times as large',
      f'{last[_CLIPPED]:.4f} clipped, {last[_SPARED]:.4f} unclipped',
      last[_CLIPPED] < 0.1 and last[_SPARED] >= 10 * last[_CLIPPED],
    ),
  ]


def _draw(figure: Figure, results: Results) -> None:
  axes = figure.subplots()
  curves = {
    f'{name}: {100 * results[name]["test_accuracy"]:.1f} % of test images right': (
      range(1, len(results[name]['largest_gain']) + 1),
      results[name]['largest_gain'],
    )
    for name in (_CLIPPED, _SPARED, _PLAIN)
  }
  draw_curves(axes, curves, x='step', y='largest skip gain')
  bound = results[_CLIPPED]['bound']
  axes.plot(range(1, len(bound) + 1), bound, color='black', linestyle='--', label='bound')
  axes.set_yscale('log')
  axes.legend(frameon=False)


CLAIM = Claim(
  name='skip_gain_under_agc',
  title='A gain that starts at zero is slow under AGC',
  paper=NFNETS,
  where='section 4.1, equation 3',
  says=(
    'AGC holds a gradient below clipping times the norm of its weight, but counts this norm as '
    '0.001 at least.  So a gain that starts at zero moves by at most clipping * 0.001 * rate / '
    '(1 - momentum) in a step: harmless in the 100,000 steps of the paper, but a short run trains '
    'a network whose branches are still off.'
  ),
  rule=(
    'Gains whose gradient always points up reach 0.1 and 1 after just the computed number of '
    'steps, for eight pairs of rate and clipping; in real training no gain is ever beyond the '
    'computed bound; and after 300 steps at rate 0.1 and clipping 0.01 the largest is below 0.1, '
    'while unclipped ones are ten times as large.'
  ),
  settings={
    Scale.CPU: Setting(
      cost=Cost.MINUTES,
      cells=_climbs() | _trainings(CPU, 128, 300),
      dataset='fashion_mnist',
    ),
    Scale.GPU: Setting(
      cost=Cost.GPU, cells=_climbs() | _trainings(GPU, 256, 300), dataset='cifar10'
    ),
  },
  measure=_measure,
  judge=_judge,
  draw=_draw,
)
