"""Averaged parameters are better than the last ones in the middle of training."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets.claims.beds.pictures import draw_curves
from nfnets.claims.beds.runs import Run
from nfnets.claims.beds.sizes import CPU, GPU, Bed
from nfnets.claims.beds.training import evaluate, train
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import NFNETS
from nfnets.optim.ema import MAX_DECAY, update_ema

_RAW, _AVERAGED, _COLD = 'as they are', 'averaged', 'averaged without warm-up'
_COLD_DECAY = 0.999
_LOOKS = 12  # evaluations, evenly over the run
_MIDDLE = (0.25, 0.75)  # of the run
_EARLY = 0.2
_SEEDS = range(2)
_NEVER = 1e9  # updates before the first: what the formula of the warm-up calls warmed up


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Cell:
  run: Run
  max_decay: float = MAX_DECAY
  cold_decay: float = _COLD_DECAY
  looks: int = _LOOKS


def _cells(bed: Bed, batch: int) -> dict[str, _Cell]:
  return {
    f'seed {seed}': _Cell(run=bed.run(bed.nf, batch, clipping=0.16, seed=seed)) for seed in _SEEDS
  }


def _measure(cell: _Cell, source: Source) -> Measured:
  images = cell.run.images(source)
  model, recipe = cell.run.model(images), cell.run.recipe
  start = model.init(jax.random.key(recipe.seed))
  averages = {_AVERAGED: start[0], _COLD: start[0]}
  looks = [round(recipe.steps * (look + 1) / cell.looks) for look in range(cell.looks)]
  found: dict[str, list[float]] = {name: [] for name in (_RAW, *averages)}

  @jax.jit
  def average(old: dict[str, Any], params: Any, step: jax.Array) -> dict[str, Any]:
    return {
      _AVERAGED: update_ema(old[_AVERAGED], params, step, cell.max_decay),
      _COLD: update_ema(old[_COLD], params, _NEVER, cell.cold_decay),
    }

  def watch(steps: int, params: Any, state: Any) -> None:
    nonlocal averages
    averages = average(averages, params, jnp.asarray(steps - 1))
    if steps in looks:
      for name, tree in {_RAW: params, **averages}.items():
        found[name].append(evaluate(model, tree, state, images, images.test).accuracy)

  every = range(1, recipe.steps + 1)
  train(model, images, recipe, tell=source.tell, start=start, watch=watch, watch_at=every)
  return {'progress': [steps / recipe.steps for steps in looks], **found}


def _mean(results: Results, name: str, least: float, most: float) -> float:
  """Accuracy in percent, over all seeds and the part of the run from `least` to `most`."""
  values = [
    100 * value
    for found in results.values()
    for at, value in zip(found['progress'], found[name], strict=True)
    if least <= at <= most
  ]
  return float(np.mean(values))


def _judge(results: Results) -> list[Check]:
  raw, averaged = (_mean(results, name, *_MIDDLE) for name in (_RAW, _AVERAGED))
  last_raw, last = (_mean(results, name, 1, 1) for name in (_RAW, _AVERAGED))
  early, cold = (_mean(results, name, 0, _EARLY) for name in (_AVERAGED, _COLD))
  return [
    Check(
      'in the middle half of the run the average is at least 0.3 points better',
      f'{averaged:.1f} %, parameters as they are {raw:.1f} %',
      averaged - raw >= 0.3,
    ),
    Check(
      'at the end it is at most half a point worse',
      f'{last:.1f} %, parameters as they are {last_raw:.1f} %',
      last >= last_raw - 0.5,
    ),
    Check(
      'in the first fifth, without the warm-up of the decay, it is at least 10 points worse',
      f'{cold:.1f} % without, {early:.1f} % with',
      early - cold >= 10,
    ),
  ]


def _draw(figure: Figure, results: Results) -> None:
  found = next(iter(results.values()))
  progress = [100 * at for at in found['progress']]
  curves = {}
  for name in (_RAW, _AVERAGED, _COLD):
    over_seeds = np.mean([seed[name] for seed in results.values()], axis=0)
    curves[name] = (progress, [100 * value for value in over_seeds])
  draw_curves(figure.subplots(), curves, x='part of the run in %', y='test accuracy in %')


CLAIM = Claim(
  name='ema',
  title='Averaged parameters are better than the last ones in the middle of training',
  paper=NFNETS,
  where='appendix A.1',
  says=(
    'An exponential moving average of the parameters is evaluated, with a decay of 0.99999 and the '
    'warm-up min(0.99999, (1 + t) / (10 + t)) that lets it forget the first parameters.'
  ),
  rule=(
    'Means over two seeds: in the middle half of the run the average is at least 0.3 points more '
    'accurate than the parameters themselves; at the end it is at most half a point less; and in '
    'the first fifth, an average of constant decay 0.999 is at least 10 points behind.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.MINUTES, cells=_cells(CPU, 64), dataset='fashion_mnist'),
    Scale.GPU: Setting(cost=Cost.GPU, cells=_cells(GPU, 256), dataset='cifar10'),
  },
  measure=_measure,
  judge=_judge,
  draw=_draw,
)
