"""One device with the whole batch, or two with half of it each."""

import concurrent.futures
import dataclasses
import functools
import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets import batchnorm
from nfnets.claims import styles
from nfnets.claims.beds.norm_bed import SMALL, Bed, normalized
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import BATCHNORM
from nfnets.models.zoo import Model
from nfnets.training.losses import cross_entropy

_AXIS = 'devices'
_DEVICES = 2


class Cell(NamedTuple):
  """A few steps of plain SGD, on one device and on two."""

  bed: Bed
  synced: bool
  steps: int = 5
  batch_size: int = 64
  learning_rate: float = 0.05


def measure(cell: Cell, source: Source) -> Measured:
  """How far parameters and logits are apart: in a process of its own, that has two devices."""
  images = cell.bed.images(source)
  model = cell.bed.model(images)
  split = images.train.first(cell.steps * cell.batch_size)
  x = np.asarray(normalized(images, split.images))
  with concurrent.futures.ProcessPoolExecutor(
    1, multiprocessing.get_context('spawn'), initializer=_have_devices
  ) as pool:
    return pool.submit(_compare, cell, model, x, split.labels).result()


def _have_devices() -> None:
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', _DEVICES)


def _compare(cell: Cell, model: Model, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
  params, state = model.init(jax.random.key(cell.bed.recipe.seed))
  apply = functools.partial(model.apply, is_training=True)
  parallel = batchnorm.synced(apply, _AXIS) if cell.synced else apply
  one, two = (_stepping(cell, way, count) for way, count in ((apply, 1), (parallel, _DEVICES)))
  differences, alone, shared = [], (params, state), (params, state)
  for step in range(cell.steps):
    part = slice(step * cell.batch_size, (step + 1) * cell.batch_size)
    batch = images[part], labels[part]
    (alone, logits), (shared, other) = one(*alone, *batch), two(*shared, *batch)
    differences.append(float(np.abs(logits - other).max()))
  return {
    'logits': differences,
    'largest_logit': float(np.abs(logits).max()),
    'params': max(
      float(np.abs(a - b).max())
      for a, b in zip(jax.tree.leaves(alone[0]), jax.tree.leaves(shared[0]), strict=True)
    ),
  }


def _stepping(cell: Cell, apply: Callable[..., Any], devices: int) -> Callable[..., Any]:
  """(params, state, images, labels) -> ((params, state), logits), by so many devices."""

  def loss_of(params: Any, state: Any, x: jax.Array, labels: jax.Array) -> Any:
    outputs, state = apply(params, state, None, x)
    return jnp.mean(cross_entropy(outputs['logits'], labels)), (outputs['logits'], state)

  def step(params: Any, state: Any, x: jax.Array, labels: jax.Array) -> Any:
    gradients, (logits, state) = jax.grad(loss_of, has_aux=True)(params, state, x, labels)
    gradients = jax.lax.pmean(gradients, _AXIS)
    params = jax.tree.map(lambda p, g: p - cell.learning_rate * g, params, gradients)
    return params, state, logits

  mapped = jax.pmap(
    step, axis_name=_AXIS, in_axes=(None, None, 0, 0), devices=jax.devices()[:devices]
  )

  def stepped(params: Any, state: Any, x: np.ndarray, labels: np.ndarray) -> Any:
    x, labels = (value.reshape(devices, -1, *value.shape[1:]) for value in (x, labels))
    *trees, logits = mapped(params, state, x, labels)
    params, state = jax.tree.map(lambda leaf: jax.device_get(leaf)[0], tuple(trees))
    return (params, state), np.concatenate(jax.device_get(logits))

  return stepped


def judge(results: Results) -> Sequence[Check]:
  """Equal but for rounding, or not."""
  worst = {name: max(found['logits']) / found['largest_logit'] for name, found in results.items()}
  return [
    Check(
      f'{name}: logits of two devices and of one within 1e-3 of the largest, at every step',
      f'{worst[name]:.1e}',
      worst[name] <= 1e-3,
    )
    for name in ('synced', 'normalizer-free')
  ] + [
    Check(
      'batch normalization on each device alone: at least 100 times as far apart as synced',
      f'{worst["each device alone"]:.1e} and {worst["synced"]:.1e}',
      worst['each device alone'] >= 100 * worst['synced'],
    )
  ]


def draw(figure: Figure, results: Results) -> None:
  """Differences step by step."""
  axes = figure.subplots()
  for (name, found), colour in zip(results.items(), styles.COLOURS, strict=False):
    steps = range(1, 1 + len(found['logits']))
    axes.plot(steps, np.maximum(found['logits'], 1e-9), 'o-', color=colour, label=name)
  axes.set_yscale('log')
  axes.legend(frameon=False)
  styles.finish(axes, x='step', y='largest difference of logits')


_NORMALIZER_FREE = dataclasses.replace(SMALL, family='nf_wide_resnet')

CLAIM = Claim(
  name='replica_equality',
  title='Synced batch normalization on two devices is that of one; unsynced is another network',
  paper=BATCHNORM,
  where='section 4 and Table 6',
  says=(
    'With batch normalization the batch of a device is part of what the network computes: two '
    'devices with half of a batch each are another network than one, unless statistics are those '
    'of all devices. Normalizer-free networks do not depend on it.'
  ),
  rule=(
    'Over five steps of SGD on two devices and on one, the logits of synced batch normalization '
    'and of a normalizer-free network agree within 1e-3 of the largest; without syncing they '
    'differ at least 100 times as much.'
  ),
  settings={
    Scale.CPU: Setting(
      cost=Cost.SECONDS,
      cells={
        'synced': Cell(SMALL, synced=True),
        'each device alone': Cell(SMALL, synced=False),
        'normalizer-free': Cell(_NORMALIZER_FREE, synced=False),
      },
      dataset=SMALL.dataset,
    )
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
