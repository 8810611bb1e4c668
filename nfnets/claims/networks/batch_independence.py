"""Without batch normalization what a network says of an image depends on that image alone."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets.augment.normalize import normalize
from nfnets.claims import styles
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import NFNETS
from nfnets.data.decoding import decode
from nfnets.data.folders import find_dataset
from nfnets.data.records import open_records
from nfnets.models.zoo import Model, create_model
from nfnets.training.losses import cross_entropy

_EQUAL = 1e-4
_APART = 0.01


class Cell(NamedTuple):
  """A network in training, and one image among others."""

  model: str
  skip_gain: float | None
  """1 for networks that have it: with 0 the branches would not be looked at."""
  dataset: str
  depths: tuple[int, ...] | None = None
  """Blocks of each stage, if not those of the zoo."""
  batch: int = 8
  seed: int = 0


def measure(cell: Cell, source: Source) -> Measured:
  """What changes when the other images do, relative to the size of the thing itself."""
  dataset = find_dataset(cell.dataset, source.data_dir)
  records = open_records(source.data_dir, dataset, dataset.train_split)
  examples = [records[number] for number in range(2 * cell.batch)]
  pixels = jnp.stack([decode(example.image) for example in examples])
  x = normalize(pixels, dataset.mean, dataset.std, jnp.float32)
  labels = jnp.asarray([example.label for example in examples[: cell.batch]])
  model = _model(cell, dataset.num_classes)
  params, state = model.init(jax.random.key(cell.seed))

  @jax.jit
  def logits(params: Any, x: jax.Array) -> jax.Array:
    return model.apply(params, state, None, x, is_training=True)[0]['logits']

  def loss(params: Any, x: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    return jnp.dot(weights, cross_entropy(logits(params, x), labels))

  one, others = x[: cell.batch], x[cell.batch :].at[0].set(x[0])
  changed = _difference(logits(params, one)[0], logits(params, others)[0])
  return {'logits': changed} | _gradients(loss, params, one, labels)


def _model(cell: Cell, num_classes: int) -> Model:
  model = create_model(
    cell.model, num_classes, skip_gain=cell.skip_gain, drop_rate=0.0, stochdepth_rate=0.0
  )
  if cell.depths is None:
    return model
  variant = dataclasses.replace(model.variant, depths=cell.depths)
  return dataclasses.replace(model, variant=variant)


def _gradients(
  loss: Callable[..., jax.Array], params: Any, x: jax.Array, labels: jax.Array
) -> dict[str, float]:
  """Of each example alone, by vmap, beside those that it has in the batch."""
  alone = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0, 0, None)))
  together = jax.jit(jax.grad(loss))
  count = len(x)
  by_vmap = _flat(alone(params, x[:, None], labels[:, None], jnp.ones(1)), count)
  in_batch = np.concatenate(
    [_flat(together(params, x, labels, weights), 1) for weights in jnp.eye(count)]
  )
  whole = _flat(together(params, x, labels, jnp.full(count, 1 / count)), 1)[0]
  return {
    'gradients': _difference(in_batch, by_vmap),
    'mean_gradient': _difference(whole, by_vmap.mean(0)),
  }


def _flat(tree: Any, rows: int) -> np.ndarray:
  """[rows, numbers]."""
  leaves = [np.asarray(leaf, np.float64).reshape(rows, -1) for leaf in jax.tree.leaves(tree)]
  return np.concatenate(leaves, 1)


def _difference(a: Any, b: Any) -> float:
  """The length of the difference, relative to that of `a`."""
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  return float(np.linalg.norm(a - b) / np.linalg.norm(a))


_QUESTIONS = {
  'logits': 'the logits of an image change with the others',
  'gradients': 'the gradients of examples alone, by vmap, differ from theirs within the batch',
  'mean_gradient': "their mean differs from the batch's",
}


def judge(results: Results) -> Sequence[Check]:
  """Normalizer-free networks depend on nothing, those with batch normalization do in training."""
  free = [
    Check(
      f'{name}: {words} by less than {_EQUAL:g}',
      f'{found[question]:.2g}',
      found[question] < _EQUAL,
    )
    for name, found in results.items()
    if not name.startswith('bn_')
    for question, words in _QUESTIONS.items()
  ]
  normalized = [
    Check(
      f'{name}: {_QUESTIONS[question]} by more than {_APART:g}',
      f'{found[question]:.2g}',
      found[question] > _APART,
    )
    for name, found in results.items()
    if name.startswith('bn_')
    for question in _QUESTIONS
  ]
  return [*free, *normalized]


def draw(figure: Figure, results: Results) -> None:
  """The three differences of each network."""
  axes: Any = figure.subplots()
  for number, ((name, found), colour) in enumerate(
    zip(results.items(), styles.COLOURS, strict=False)
  ):
    places = np.arange(len(_QUESTIONS)) + 0.15 * (number - 1)
    values = [max(found[question], 1e-9) for question in _QUESTIONS]
    axes.plot(values, places, 'o', color=colour, label=name)
  axes.set_xscale('log')
  axes.set_yticks(range(len(_QUESTIONS)), list(_QUESTIONS))
  axes.invert_yaxis()
  axes.axvspan(_EQUAL, _APART, color='#f0f0f0')
  styles.finish(axes, x='relative difference (equal numbers at 1e-9)', y='')
  axes.legend(frameon=False)


CLAIM = Claim(
  name='batch_independence',
  title='Without batch normalization examples do not depend on each other',
  paper=NFNETS,
  where='section 1',
  says=(
    'Batch normalization breaks the independence between training examples in a minibatch; '
    'normalizer-free networks do not, so that gradients of single examples can be had.'
  ),
  rule=(
    'In training, relative to their own size: in normalizer-free networks the logits of an image '
    'change by less than 0.0001 when all others are exchanged, the gradients of single examples by '
    "vmap are those that they have in the batch, and their mean is the batch's. In a network with "
    'batch normalization all three differ by more than 0.01.'
  ),
  settings={
    Scale.CPU: Setting(
      cost=Cost.MINUTES,
      cells={
        'nf_wide_resnet': Cell('nf_wide_resnet_16_2', 1.0, 'fashion_mnist', (1, 1, 1)),
        'bn_wide_resnet': Cell('wide_resnet_16_2', None, 'fashion_mnist', (1, 1, 1)),
      },
      dataset='fashion_mnist',
    ),
    Scale.GPU: Setting(
      cost=Cost.GPU,
      cells={
        'nfnet_f0': Cell('nfnet_f0', 1.0, 'cifar10'),
        'nf_resnet50': Cell('nf_resnet50', 1.0, 'cifar10'),
        'bn_wide_resnet': Cell('wide_resnet_16_4', None, 'cifar10'),
      },
      dataset='cifar10',
    ),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
