"""Two domains: statistics that they share or have for themselves, in training and in inference."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets import batchnorm
from nfnets.batchnorm import Domains
from nfnets.claims import styles
from nfnets.claims.beds.images import Images, Split
from nfnets.claims.beds.network import Network
from nfnets.claims.beds.norm_bed import (
  LARGE,
  SMALL,
  Bed,
  accuracy,
  training_batches,
  training_pass,
)
from nfnets.claims.beds.training import train
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import BATCHNORM

_SHARED, _OWN = 'shared statistics', 'own statistics'
_AT_ONCE = 256


class Cell(NamedTuple):
  """How a network is trained on images and their negatives, half of every batch each."""

  bed: Bed
  own_statistics: bool
  own_affine: bool = False
  population_images: int = 4096
  """Of each domain."""


@dataclasses.dataclass(frozen=True)
class Halves:
  """A network in training, the two halves of whose batches are of one domain each."""

  network: Network
  domains: Domains

  def init(self, rng: jax.Array) -> tuple[Any, Any]:
    """See `Network`."""
    return self.domains.split(*self.network.init(rng))

  def apply(
    self, params: Any, state: Any, rng: jax.Array | None, images: jax.Array, *, is_training: bool
  ) -> tuple[dict[str, jax.Array], Any]:
    """See `Network`."""
    apply, logits = self.domains.select(self.network.apply), []
    for domain, half in enumerate(jnp.split(images, self.domains.count)):
      outputs, state = apply(domain, params, state, rng, half, is_training=is_training)
      logits.append(outputs['logits'])
    return {'logits': jnp.concatenate(logits)}, state


def measure(cell: Cell, source: Source) -> Measured:
  """Mean test accuracy of the two domains, by statistics of both kinds."""
  plain = cell.bed.images(source)
  both = plain, _map_images(plain, _negative)
  model = cell.bed.model(plain)
  domains = Domains(count=2, statistics=cell.own_statistics, affine=cell.own_affine)
  network = Halves(model, domains) if cell.own_statistics else model
  joint = plain._replace(train=_joined(both[0].train, both[1].train))
  made = train(network, joint, cell.bed.recipe, tell=source.tell, order=_halves(cell, plain))
  trees = [
    domains.of(domain, made.params, made.state)
    if cell.own_statistics
    else (made.params, made.state)
    for domain in range(2)
  ]
  sums = [
    _sums(model, *tree, _batches(cell, images)) for tree, images in zip(trees, both, strict=True)
  ]
  if cell.own_statistics:
    joint_sums = jax.tree.map(jnp.add, *sums)
  else:
    mixed = (jnp.concatenate(pair) for pair in zip(*map(_of(cell), both), strict=True))
    joint_sums = _sums(model, *trees[0], mixed)
  found: dict[str, list[float]] = {_SHARED: [], _OWN: []}
  for (params, state), images, own in zip(trees, both, sums, strict=True):
    for name, one in ((_SHARED, joint_sums), (_OWN, own)):
      new = batchnorm.write_averages(state, batchnorm.averages_of(one))
      found[name].append(accuracy(model, params, new, images))
  return found


def _of(cell: Cell) -> Callable[[Images], Iterator[jax.Array]]:
  return lambda images: _batches(cell, images)


def _batches(cell: Cell, images: Images) -> Iterator[jax.Array]:
  return training_batches(images, cell.population_images, _AT_ONCE)


def _sums(network: Network, params: Any, state: Any, batches: Iterator[jax.Array]) -> Any:
  forward = training_pass(network)
  one = jax.jit(lambda x: batchnorm.sum_statistics(forward, params, state, x))
  sums = [one(x) for x in batches]
  return jax.tree.map(lambda *leaves: sum(leaves), *sums)


def _negative(split: Split) -> Split:
  return split._replace(images=255 - split.images)


def _map_images(images: Images, change: Callable[[Split], Split]) -> Images:
  return images._replace(train=change(images.train), test=change(images.test))


def _joined(first: Split, second: Split) -> Split:
  return Split(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))


def _halves(cell: Cell, images: Images) -> Callable[[int], np.ndarray]:
  """step -> places: as many images as negatives, in this order, and not of the same images."""
  count, recipe = len(images.train.labels), cell.bed.recipe

  def order(step: int) -> np.ndarray:
    rng = np.random.default_rng((recipe.seed, step))
    places = rng.integers(count, size=(2, recipe.batch_size // 2))
    return (places + np.array([[0], [count]])).ravel()

  return order


def judge(results: Results) -> Sequence[Check]:
  """Consistent pairs against the others."""
  mean = {
    (trained, used): float(np.mean(found[used]))
    for trained, found in results.items()
    for used in (_SHARED, _OWN)
  }
  shared, own, affine = results
  consistent = min(mean[shared, _SHARED], mean[own, _OWN])
  return [
    *(
      Check(
        f'trained with {pair[0]}, used with {pair[1]}: at least 5 points below consistent pairs',
        f'{mean[pair]:.2f} %; the consistent ones {mean[shared, _SHARED]:.2f} % and '
        f'{mean[own, _OWN]:.2f} %',
        mean[pair] <= consistent - 5,
      )
      for pair in ((shared, _OWN), (own, _SHARED))
    ),
    Check(
      'consistent pairs: own scales and offsets change at most 2 points',
      f'{mean[own, _OWN]:.2f} % shared, {mean[affine, _OWN]:.2f} % own',
      abs(mean[affine, _OWN] - mean[own, _OWN]) <= 2,
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """Pairs of bars."""
  axes = figure.subplots()
  places = np.arange(len(results))
  for shift, used, colour in (
    (-0.2, _SHARED, styles.COLOURS[0]),
    (0.2, _OWN, styles.COLOURS[1]),
  ):
    means = [np.mean(found[used]) for found in results.values()]
    axes.bar(places + shift, means, 0.36, color=colour, label=f'used with {used}')
  axes.set_xticks(places, [name.replace(', ', ',\n') for name in results])
  axes.legend(frameon=False, loc='upper left', bbox_to_anchor=(1, 1))
  styles.finish(axes, x='trained with', y='test accuracy, mean of the domains, %')


def _setting(cost: Cost, bed: Bed) -> Setting[Cell]:
  cells: Mapping[str, Cell] = {
    _SHARED: Cell(bed, False),
    _OWN: Cell(bed, True),
    f'{_OWN}, scales and offsets': Cell(bed, True, own_affine=True),
  }
  return Setting(cost=cost, cells=cells, dataset=bed.dataset)


CLAIM = Claim(
  name='domain_statistics',
  title='Domains may share statistics or have their own, if only consistently',
  paper=BATCHNORM,
  where='section 5, Table 5',
  says=(
    'Where a network is trained on several domains, statistics may be those of all or of each, in '
    'training and in inference. Consistent choices work; others cost much. Whether scales and '
    'offsets are shared hardly matters.'
  ),
  rule=(
    'On images and their negatives, both inconsistent pairs are at least 5 points less accurate '
    'than both consistent ones; scales and offsets of their own change the accuracy of own '
    'statistics by at most 2 points.'
  ),
  settings={Scale.CPU: _setting(Cost.MINUTES, SMALL), Scale.GPU: _setting(Cost.GPU, LARGE)},
  measure=measure,
  judge=judge,
  draw=draw,
)
