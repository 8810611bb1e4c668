"""PreciseBN is exact, and a thousand images are enough for it."""

from collections.abc import Sequence
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets import batchnorm
from nfnets.claims import styles
from nfnets.claims.beds.norm_bed import (
  LARGE,
  SMALL,
  Bed,
  accuracy,
  normalized,
  population_state,
  trained,
)
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import BATCHNORM


class Cell(NamedTuple):
  """A trained network, and how many training images its statistics are taken from."""

  bed: Bed
  counts: tuple[int, ...] = (10, 100, 1000, 10_000)
  draws: int = 5
  """Times that so many images are drawn anew."""
  exact_images: int = 1000
  exact_cuts: tuple[int, ...] = (2, 300, 301, 800)
  """Where those of the exact part are cut into batches."""


def measure(cell: Cell, source: Source) -> Measured:
  """Accuracies by the number of images; and how exact a single layer is."""
  images = cell.bed.images(source)
  network = cell.bed.model(images)
  params, state = trained(network, cell.bed, source)[:2]
  scores = [
    [
      accuracy(
        network,
        params,
        population_state(network, params, state, images, count=count, seed=draw),
        images,
      )
      for draw in range(cell.draws)
    ]
    for count in cell.counts
  ]
  return {
    'counts': list(cell.counts),
    'accuracies': scores,
    'moving_average': accuracy(network, params, state, images),
    'error_of_one_layer': _error_of_one_layer(
      normalized(images, images.train.images[: cell.exact_images]), cell.exact_cuts
    ),
  }


def _error_of_one_layer(x: jax.Array, cuts: Sequence[int]) -> float:
  """The largest error of the statistics of pixels, relative to the standard deviation."""
  x = x.reshape(len(x), -1)
  layer = hk.transform_with_state(lambda x, t: hk.BatchNorm(True, True, 0.9, name='norm')(x, t))
  params, state = layer.init(None, x, True)
  forward = lambda params, state, x: layer.apply(params, state, None, x, True)  # noqa: E731
  state = batchnorm.precise_statistics(forward, params, state, jnp.split(x, np.asarray(cuts)))
  mean, variance = batchnorm.read_averages(state)['norm']
  exact = np.asarray(x, np.float64)
  seen = exact.std(0) > 0.1  # pixels at the border are always black
  variances = exact.var(0, ddof=1)[seen]
  errors = (
    (mean[0, seen] - exact.mean(0)[seen]) / np.sqrt(variances),
    (variance[0, seen] - variances) / variances,
  )
  return max(float(np.abs(error).max()) for error in errors)


def judge(results: Results) -> Sequence[Check]:
  """A hundred images are too few, a thousand are enough."""
  found = results['trained']
  means = dict(zip(found['counts'], np.mean(found['accuracies'], axis=1), strict=True))
  best = means[10_000]
  return [
    Check(
      'one layer: the statistics of all images from unequal batches, within 1e-4',
      f'{found["error_of_one_layer"]:.1e}',
      found['error_of_one_layer'] <= 1e-4,
    ),
    Check(
      '100 images: at least 0.3 points less accurate than 10,000',
      f'{means[100]:.2f} % and {best:.2f} %',
      means[100] <= best - 0.3,
    ),
    Check(
      '1,000 images: within 0.3 points of 10,000',
      f'{means[1000]:.2f} % and {best:.2f} %',
      abs(means[1000] - best) <= 0.3,
    ),
    Check(
      'after training to the end, moving averages: within 0.5 points of PreciseBN',
      f'{found["moving_average"]:.2f} % and {best:.2f} %',
      abs(found['moving_average'] - best) <= 0.5,
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """Accuracy against the number of images."""
  found = results['trained']
  axes = figure.subplots()
  for draw in zip(*found['accuracies'], strict=True):
    axes.plot(found['counts'], draw, 'o', color=styles.COLOURS[0], alpha=0.4, markersize=4)
  axes.plot(
    found['counts'], np.mean(found['accuracies'], axis=1), color=styles.COLOURS[0],
    label='PreciseBN: five draws of images, and their mean',
  )  # fmt: skip
  axes.axhline(
    found['moving_average'], color=styles.COLOURS[1], linestyle=(0, (4, 3)),
    label='moving averages',
  )  # fmt: skip
  axes.set_xscale('log')
  styles.finish(axes, x='images that the statistics are taken from', y='test accuracy, %')
  axes.legend(frameon=False, loc='lower right')


CLAIM = Claim(
  name='precise_bn',
  title='PreciseBN is exact, and a thousand images are enough',
  paper=BATCHNORM,
  where='section 3, Figure 3',
  says=(
    'Population statistics can be computed by one pass of the trained network over some images, '
    'without a moving average. A thousand to ten thousand images are enough; a hundred are not.'
  ),
  rule=(
    'For one layer, statistics aggregated from batches of unequal sizes are those of all images '
    'within 1e-4. For a trained network, the mean test accuracy over five draws is at least 0.3 '
    'points lower with 100 images than with 10,000, and with 1,000 within 0.3 points of it; moving '
    'averages are within 0.5 points at the end of training.'
  ),
  settings={
    Scale.CPU: Setting(cost=Cost.MINUTES, cells={'trained': Cell(SMALL)}, dataset=SMALL.dataset),
    Scale.GPU: Setting(cost=Cost.GPU, cells={'trained': Cell(LARGE)}, dataset=LARGE.dataset),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
