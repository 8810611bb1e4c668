"""Population statistics of the domain that a network is used on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from nfnets.claims import styles
from nfnets.claims.beds.images import Images, Split
from nfnets.claims.beds.norm_bed import LARGE, SMALL, Bed, accuracy, population_state, trained
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import BATCHNORM

Corruption = Callable[[np.ndarray], np.ndarray]
"""[N, H, W, C] of 0 to 255, float32, to the same; what leaves the range is clipped."""


def _noise(x: np.ndarray) -> np.ndarray:
  return x + np.random.default_rng(0).normal(0, 50, x.shape)


def _blur(x: np.ndarray) -> np.ndarray:
  """Means over 3 x 3 pixels."""
  frame = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode='edge')
  height, width = x.shape[1:3]
  shifts = [frame[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
  return np.mean(shifts, axis=0)


CORRUPTIONS: dict[str, Corruption] = {
  'none': lambda x: x,
  'low contrast': lambda x: 127 + 0.3 * (x - 127),
  'brightness': lambda x: x + 100,
  'noise': _noise,
  'blur': _blur,
}


class Cell(NamedTuple):
  """A network trained on clean images, and corrupted ones."""

  bed: Bed
  corruption: str
  population_images: int = 4096


def measure(cell: Cell, source: Source) -> Measured:
  """Accuracy on corrupted test images, by statistics of clean and of corrupted training images."""
  images = cell.bed.images(source)
  network = cell.bed.model(images)
  params, state = trained(network, cell.bed, source)[:2]
  target = _corrupted(images, CORRUPTIONS[cell.corruption])
  return {
    name: accuracy(
      network,
      params,
      population_state(network, params, state, domain, count=cell.population_images),
      target,
    )
    for name, domain in (('clean', images), ('corrupted', target))
  }


def _corrupted(images: Images, corrupt: Corruption) -> Images:
  """The same images with the mean and deviation of the clean ones."""

  def change(split: Split) -> Split:
    changed = corrupt(split.images.astype(np.float32))
    return split._replace(images=np.clip(np.round(changed), 0, 255).astype(np.uint8))

  return images._replace(train=change(images.train), test=change(images.test))


def judge(results: Results) -> Sequence[Check]:
  """How much of what is lost comes back."""
  clean = results['none']['clean']
  worse = {name: found for name, found in results.items() if name != 'none'}
  lost = sum(clean - found['clean'] for found in worse.values())
  back = {name: found['corrupted'] - found['clean'] for name, found in worse.items()}
  return [
    Check(
      'the corruptions cost at least 5 points on average',
      f'{lost / len(worse):.2f} points of {clean:.2f} %',
      lost >= 5 * len(worse),
    ),
    Check(
      'statistics of corrupted images bring at least 30 % of that back',
      f'{sum(back.values()) / lost:.0%}',
      sum(back.values()) >= 0.3 * lost,
    ),
    Check(
      'they cost nowhere more than 1 point',
      ', '.join(f'{name}: {points:+.2f}' for name, points in back.items()),
      min(back.values()) >= -1,
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """Pairs of bars."""
  axes = figure.subplots()
  places = np.arange(len(results))
  for shift, (name, colour) in zip(
    (-0.2, 0.2), zip(('clean', 'corrupted'), styles.COLOURS, strict=False), strict=True
  ):
    accuracies = [found[name] for found in results.values()]
    axes.bar(places + shift, accuracies, 0.36, color=colour, label=f'statistics of {name} images')
  axes.set_xticks(places, list(results))
  axes.legend(frameon=False, loc='upper left', bbox_to_anchor=(1, 1))
  styles.finish(axes, x='corruption', y='test accuracy, %')


def _setting(cost: Cost, bed: Bed) -> Setting[Cell]:
  cells = {name: Cell(bed, name) for name in CORRUPTIONS}
  return Setting(cost=cost, cells=cells, dataset=bed.dataset)


CLAIM = Claim(
  name='target_statistics',
  title='Statistics of the target domain recover much of what corruption costs',
  paper=BATCHNORM,
  where='section 5, Table 4',
  says=(
    'A network that is used on another domain than it was trained on does better with population '
    'statistics of that domain; no label is needed, and no weight changes.'
  ),
  rule=(
    'Four corruptions cost at least 5 points of accuracy on average; statistics of corrupted '
    'training images bring at least 30 % of what they cost together back, and cost nowhere more '
    'than 1 point.'
  ),
  settings={Scale.CPU: _setting(Cost.MINUTES, SMALL), Scale.GPU: _setting(Cost.GPU, LARGE)},
  measure=measure,
  judge=judge,
  draw=draw,
)
