"""Small batches in the pass of PreciseBN: their error grows from layer to layer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets import batchnorm
from nfnets.batchnorm.calls import on_calls
from nfnets.claims import styles
from nfnets.claims.beds.norm_bed import (
  LARGE,
  SMALL,
  Bed,
  Pass,
  accuracy,
  trained,
  training_batches,
  training_pass,
)
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import BATCHNORM

_AT_ONCE = 512  # images in one call: as many batches as they make, side by side


class Cell(NamedTuple):
  """A trained network, and the batches its statistics are taken by."""

  bed: Bed
  batch_size: int
  images: int = 8192
  reference: int = 512
  """Size of the batches that errors are measured against."""


def measure(cell: Cell, source: Source) -> Measured:
  """Errors of every layer in the order of the network, and the accuracy."""
  images = cell.bed.images(source)
  network = cell.bed.model(images)
  params, state = trained(network, cell.bed, source)[:2]
  found, wanted = (
    _statistics(network, params, state, training_batches(images, cell.images, _AT_ONCE), size)
    for size in (cell.batch_size, cell.reference)
  )
  (some,) = training_batches(images, 2, 2)
  layers = _in_order(training_pass(network), params, state, some)
  return {
    'layers': layers,
    'mean_errors': [_rms(found[path].mean - wanted[path].mean, wanted[path]) for path in layers],
    'deviation_errors': [
      _rms(jnp.sqrt(found[path].variance) - jnp.sqrt(wanted[path].variance), wanted[path])
      for path in layers
    ],
    'accuracy': accuracy(network, params, batchnorm.write_averages(state, found), images),
  }


def _statistics(network: Any, params: Any, state: Any, batches: Any, size: int) -> dict[str, Any]:
  """By batches of `size` examples."""

  @jax.jit
  def sum_all(x: jax.Array) -> Any:
    parts = x.reshape(-1, size, *x.shape[1:])
    sums = jax.vmap(
      lambda part: batchnorm.sum_statistics(training_pass(network), params, state, part)
    )(parts)
    return jax.tree.map(lambda leaf: leaf.sum(0), sums)

  sums = [sum_all(x) for x in batches if len(x) == _AT_ONCE]
  averages = batchnorm.averages_of(jax.tree.map(lambda *leaves: sum(leaves), *sums))
  return averages


def _in_order(forward: Pass, params: Any, state: Any, x: jax.Array) -> list[str]:
  """Paths of the layers, as `x` comes through them."""
  order: list[str] = []
  with hk.intercept_methods(on_calls(lambda call: order.append(call.path))):
    # A function of its own: of one that was traced before, JAX would not call a layer again.
    jax.eval_shape(lambda params, state: forward(params, state, x), params, state)
  return order


def _rms(error: jax.Array, wanted: Any) -> float:
  """Of the channels, in standard deviations."""
  return float(jnp.sqrt(jnp.mean(jnp.square(error) / (wanted.variance + 1e-5))))


def judge(results: Results) -> Sequence[Check]:
  """Two images at a time against sixty-four."""
  two, many = results['batches of 2'], results['batches of 64']
  errors = np.hypot(two['mean_errors'], two['deviation_errors'])
  others = np.hypot(many['mean_errors'], many['deviation_errors'])
  third = len(errors) // 3
  first, last = errors[:third].mean(), errors[-third:].mean()
  return [
    Check(
      'batches of 2: the error of the last third of the layers is twice that of the first or more',
      f'{first:.3f} and {last:.3f} standard deviations',
      last >= 2 * first,
    ),
    Check(
      'batches of 64: the mean error of the layers is at most a quarter of that',
      f'{others.mean():.3f} and {errors.mean():.3f} standard deviations',
      others.mean() <= errors.mean() / 4,
    ),
    Check(
      'test accuracy: at least 1 point higher by batches of 64',
      f'{two["accuracy"]:.2f} % and {many["accuracy"]:.2f} %',
      many['accuracy'] >= two['accuracy'] + 1,
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """Errors against the depth, and what they cost."""
  left, right = figure.subplots(1, 2)
  for (name, found), colour in zip(results.items(), styles.COLOURS, strict=False):
    errors = np.hypot(found['mean_errors'], found['deviation_errors'])
    left.plot(range(1, len(errors) + 1), errors, 'o-', color=colour, label=name, markersize=4)
  sizes = [int(name.split()[-1]) for name in results]
  right.plot(sizes, [found['accuracy'] for found in results.values()], 'o-', color='black')
  right.set_xscale('log', base=2)
  left.legend(frameon=False)
  styles.finish(left, x='layer of batch normalization', y='error, standard deviations')
  styles.finish(right, x='images in a batch of the pass', y='test accuracy, %')


def _cells(bed: Bed) -> dict[str, Cell]:
  return {f'batches of {size}': Cell(bed, size) for size in (2, 4, 16, 64)}


CLAIM = Claim(
  name='precise_bn_batch_size',
  title='Small batches in the pass of PreciseBN accumulate error with the depth',
  paper=BATCHNORM,
  where='section 3, Table 2',
  says=(
    'Statistics of the population aggregated from small batches are wrong in deep layers: every '
    'layer is fed by layers that small batches normalize. As nothing is kept for a backward pass, '
    'PreciseBN can afford larger batches than training.'
  ),
  rule=(
    'Against batches of 512, the error of mean and deviation by batches of 2 is at least twice as '
    'large in the last third of the layers as in the first; by batches of 64 it is at most a '
    'quarter as large over all layers, and the test accuracy at least 1 point higher.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.MINUTES, cells=_cells(SMALL), dataset=SMALL.dataset),
    Scale.GPU: Setting(cost=Cost.GPU, cells=_cells(LARGE), dataset=LARGE.dataset),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
