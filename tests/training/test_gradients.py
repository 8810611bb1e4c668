"""The gradient of a step: augmentation, SAM and micro-batches against what they are defined as."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.augment.augment import Augmentation, augment
from nfnets.augment.keys import example_keys
from nfnets.augment.normalize import normalize
from nfnets.data.datasets import DATASETS
from nfnets.errors import InputError
from nfnets.optim import ascend
from nfnets.training.config import Config, OptimizerConfig
from nfnets.training.gradients import first_share, make_examples, make_gradient
from nfnets.training.losses import cross_entropy

DIGITS = DATASETS['digits']
PAPERS = Augmentation(magnitude=5.0)
MIXED = dataclasses.replace(PAPERS, layers=0)
CONFIG = Config(precision='float32', optimizer=OptimizerConfig())
RNG = jax.random.key(3)
STATE = {'seen': {'examples': np.int32(0)}}


def batch_of(size: int, images_per_example: int = 1) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  shape = (size,) if images_per_example == 1 else (size, images_per_example)
  return {
    'images': rng.integers(0, 256, (*shape, 8, 8, 3)).astype(np.uint8),
    'labels': rng.integers(0, 10, shape).astype(np.int32),
    'positions': np.arange(40, 40 + size, dtype=np.int32),
  }


class TwoLayers:
  """A network that compiles in no time; its dropout follows the examples, as in ours."""

  in_channels, num_classes = 3, 10

  def apply(self, params, state, rng, images, *, is_training, example_ids):
    """What `Model.apply` returns."""
    assert is_training
    pixels = images.reshape(len(images), -1)
    hidden = jnp.tanh(pixels @ params['first']['w'])
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 0.7, hidden.shape[1:]))
    hidden *= keep(example_keys(rng, example_ids))
    state = {'seen': {'examples': state['seen']['examples'] + len(images)}}
    return {'logits': hidden @ params['last']['w'] + params['last']['b']}, state


@pytest.fixture(scope='module')
def model():
  return TwoLayers()


@pytest.fixture(scope='module')
def params():
  rng = np.random.default_rng(1)
  return {
    'first': {'w': jnp.asarray(0.02 * rng.standard_normal((192, 12)), jnp.float32)},
    'last': {'w': jnp.asarray(rng.standard_normal((12, 10)), jnp.float32), 'b': jnp.zeros(10)},
  }


def gradient_by(model, config: Config, params: Any, batch, **options) -> Any:
  gradient = make_gradient(model, DIGITS, config, **options)
  return jax.jit(lambda p, b: gradient(p, STATE, RNG, b)[0])(params, batch)


def with_sam(rho: float, share: float, **changes: Any) -> Config:
  optimizer = dataclasses.replace(CONFIG.optimizer, sam_rho=rho, sam_share=share)
  return dataclasses.replace(CONFIG, optimizer=optimizer, **changes)


def assert_close(got: Any, want: Any, rtol: float = 1e-4) -> None:
  """Leaf by leaf, against the largest number of the leaf."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max()),
    got,
    want,
  )


def differ(one: Any, other: Any) -> bool:
  return any(
    np.abs(a - b).max() > 1e-2 * np.abs(b).max()
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
  )


@pytest.fixture(scope='module')
def whole(model, params):
  """Of all eight examples at once, without SAM."""
  return gradient_by(model, CONFIG, params, batch_of(8))


def test_micro_batches_are_the_whole_batch(model, params, whole):
  """With dropout and stochastic depth, which follow the examples."""
  config = dataclasses.replace(CONFIG, micro_batch_size=2)
  assert_close(gradient_by(model, config, params, batch_of(8)), whole)


def test_a_micro_batch_larger_than_the_batch_is_all_of_it(model, params):
  def text(config: Config) -> str:
    gradient = make_gradient(model, DIGITS, config)
    return str(jax.make_jaxpr(gradient)(params, STATE, RNG, batch_of(4)))

  assert text(dataclasses.replace(CONFIG, micro_batch_size=64)) == text(CONFIG)


def test_pieces_that_do_not_fit_are_refused(model, params):
  gradient = make_gradient(model, DIGITS, dataclasses.replace(CONFIG, micro_batch_size=3))
  with pytest.raises(InputError, match='micro_batch_size=3: the 8 examples of a device'):
    jax.eval_shape(gradient, params, STATE, RNG, batch_of(8))


@pytest.fixture(scope='module')
def loss_at(model):
  """The loss of the first examples of a batch, as the step computes it, and its gradient."""

  def loss(params, batch, count):
    for_network, for_augmentation = jax.random.split(RNG)
    examples = make_examples(
      batch, for_augmentation, DIGITS, MIXED, classes=10, grey=False, precision='float32'
    )
    few = {name: x[:count] for name, x in examples.items()}
    outputs, _ = model.apply(
      params, STATE, for_network, few['inputs'], is_training=True, example_ids=few['positions']
    )
    return cross_entropy(outputs['logits'], few['targets'], CONFIG.label_smoothing).mean()

  return jax.jit(jax.value_and_grad(loss), static_argnums=2)


@pytest.mark.parametrize(('share', 'count'), [(0.2, 2), (1.0, 8)])
def test_sam_is_the_gradient_where_the_first_share_of_the_batch_points(
  model, params, loss_at, share: float, count: int
):
  batch = batch_of(8, 2)
  got = gradient_by(model, with_sam(0.5, share), params, batch, augmentation=MIXED)
  _, direction = loss_at(params, batch, count)
  loss, gradients = loss_at(ascend(params, direction, 0.5), batch, 8)
  np.testing.assert_allclose(got.loss, loss, rtol=1e-5)
  assert_close(got.gradients, gradients, 1e-3)
  assert differ(got.gradients, loss_at(params, batch, 8)[1])


def test_every_micro_batch_ascends_alone(model, params):
  """Pieces in one step are what devices are without a sum of their directions."""
  config = with_sam(0.5, 0.5)
  batch = batch_of(8)
  halves = [{name: x[i : i + 4] for name, x in batch.items()} for i in (0, 4)]
  alone = [gradient_by(model, config, params, half) for half in halves]
  mean = jax.tree.map(lambda a, b: (a + b) / 2, *alone)
  pieces = dataclasses.replace(config, micro_batch_size=4)
  assert_close(gradient_by(model, pieces, params, batch), mean)


def test_the_share_of_sam_is_rounded_up():
  counts = [(0.2, 32, 7), (0.2, 5, 1), (0.1, 30, 3), (0.01, 8, 1), (1.0, 7, 7)]
  for share, size, count in counts:
    assert len(first_share(batch_of(size), share)['positions']) == count


def test_augmented_examples_are_those_of_augment():
  """Example i is image 0 of row i mixed with its image 1, then normalized."""
  batch, key = batch_of(6, 2), jax.random.key(5)
  got = make_examples(batch, key, DIGITS, PAPERS, classes=10, grey=False, precision='float32')
  images, targets = augment(
    np.concatenate([batch['images'][:, 0], batch['images'][:, 1]]),
    np.concatenate([batch['labels'][:, 0], batch['labels'][:, 1]]),
    key,
    batch['positions'],
    classes=10,
    config=PAPERS,
  )
  np.testing.assert_array_equal(got['targets'], targets)
  want = normalize(images, DIGITS.mean, DIGITS.std, jnp.float32)
  np.testing.assert_array_equal(got['inputs'], want)
  assert got['inputs'].shape == (6, 8, 8, 3)


def test_without_augmentation_images_are_normalized_alone():
  plain = Augmentation(mixup=None, cutmix=None, layers=0)
  batch = batch_of(4)
  got = make_examples(batch, RNG, DIGITS, plain, classes=10, grey=True, precision='bfloat16')
  np.testing.assert_array_equal(got['targets'].argmax(-1), batch['labels'])
  want = normalize(batch['images'], DIGITS.mean, DIGITS.std, jnp.bfloat16, grey=True)
  np.testing.assert_array_equal(got['inputs'], want)
  assert got['inputs'].shape == (4, 8, 8, 1)


def test_accuracy_asks_for_the_label_with_the_greatest_share(model, params):
  """A head that always says 7, and sevens of which CutMix leaves now more, now less than half."""
  certain = params | {'last': params['last'] | {'b': jnp.zeros(10).at[7].set(1e3)}}
  batch = batch_of(16, 2)
  batch['labels'] = np.broadcast_to(np.int32([7, 3]), (16, 2))
  cut = Augmentation(mixup=None, cutmix=1.0, layers=0)
  key = jax.random.split(RNG)[1]
  shares = make_examples(batch, key, DIGITS, cut, classes=10, grey=False, precision='float32')[
    'targets'
  ][:, 7]
  mostly_seven = np.mean(shares > 0.5)
  assert 0 < mostly_seven < 1
  got = gradient_by(model, CONFIG, certain, batch, augmentation=cut)
  np.testing.assert_allclose(got.accuracy, mostly_seven)


def test_the_state_is_that_of_the_first_pass_and_goes_from_piece_to_piece(model, params):
  def seen(config: Config) -> int:
    gradient = make_gradient(model, DIGITS, config)
    return int(gradient(params, STATE, RNG, batch_of(8))[1]['seen']['examples'])

  assert seen(CONFIG) == 8
  assert seen(with_sam(0.5, 0.25)) == 2
  assert seen(with_sam(0.5, 0.25, micro_batch_size=4)) == 2
  assert seen(dataclasses.replace(CONFIG, micro_batch_size=2)) == 8
