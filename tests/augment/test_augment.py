"""The whole augmentation: what goes in, what comes out, and in which order."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from nfnets.augment.augment import Augmentation, augment
from nfnets.augment.randaugment import rand_augment
from nfnets.errors import InputError

SIZE, EXAMPLES, CLASSES = 12, 8, 5
KEY = jax.random.key(11)
POSITIONS = np.arange(EXAMPLES) + 40
MIXED = Augmentation(layers=0)
NEIGHBOURS = Augmentation(layers=0, distinct=False)
WHOLE = Augmentation(layers=2, magnitude=7.0)


@functools.cache
def program(config: Augmentation) -> Callable[..., Any]:
  return jax.jit(functools.partial(augment, classes=CLASSES, config=config))


def run(config: Augmentation, images: np.ndarray, labels: np.ndarray) -> Any:
  return jax.tree.map(np.asarray, program(config)(images, labels, KEY, POSITIONS))


def noise(count: int) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
  return images, rng.integers(0, CLASSES, count, dtype=np.int32)


def plain(*levels: int) -> np.ndarray:
  """Images of one level each."""
  column = np.array(levels, np.uint8)[:, None, None, None]
  return np.broadcast_to(column, (len(levels), SIZE, SIZE, 3))


def test_the_defaults_are_the_paper_s():
  assert Augmentation() == Augmentation(
    mixup=0.2, cutmix=1.0, distinct=True, layers=4, magnitude=10.0, as_released=False
  )


def test_labels_follow_the_pixels_in_both_kinds_of_mixing():
  images = plain(*[200] * EXAMPLES, *[0] * EXAMPLES)
  labels = np.array([1] * EXAMPLES + [3] * EXAMPLES)
  mixed, targets = run(MIXED, images, labels)
  assert (mixed.shape, mixed.dtype) == ((EXAMPLES, SIZE, SIZE, 3), np.float32)
  assert (targets.shape, targets.dtype) == ((EXAMPLES, CLASSES), np.float32)
  np.testing.assert_allclose(targets[:, 1], mixed.mean(axis=(1, 2, 3)) / 200, atol=1e-5)
  np.testing.assert_allclose(targets[:, 1] + targets[:, 3], 1, atol=1e-6)
  assert all(np.ptp(one) == 0 for one in mixed[::2])  # MixUp
  assert all(set(np.unique(one)) <= {0, 200} for one in mixed[1::2])  # CutMix
  assert any(np.ptp(one) for one in mixed[1::2])


def test_distinct_partners_are_the_second_half():
  levels = np.arange(EXAMPLES) * 10
  labels = np.arange(2 * EXAMPLES) % CLASSES
  mixed, targets = run(MIXED, plain(*levels, *levels + 100), labels)
  ones = np.eye(CLASSES)
  for i in range(EXAMPLES):
    share = (levels[i] + 100 - mixed[i].mean()) / 100
    wanted = share * ones[labels[i]] + (1 - share) * ones[labels[EXAMPLES + i]]
    np.testing.assert_allclose(targets[i], wanted, atol=1e-5)


def test_partners_of_the_same_batch_are_neighbours():
  assert (NEIGHBOURS.images_per_example, MIXED.images_per_example) == (1, 2)
  levels = np.array([0, 100, 20, 120, 40, 140, 60, 160])
  labels = np.array([0, 1, 2, 3, 4, 0, 1, 2])
  mixed, targets = run(NEIGHBOURS, plain(*levels), labels)
  for i in range(EXAMPLES):
    share = abs(mixed[i].mean() - levels[i ^ 1]) / 100
    wanted = share * np.eye(CLASSES)[labels[i]] + (1 - share) * np.eye(CLASSES)[labels[i ^ 1]]
    np.testing.assert_allclose(targets[i], wanted, atol=1e-5)


def test_without_anything_the_images_are_as_they_were():
  images, labels = noise(EXAMPLES)
  config = Augmentation(mixup=None, cutmix=None, layers=0)
  same, targets = run(config, images, labels)
  assert same.dtype == np.float32
  assert np.array_equal(same, images)
  assert np.array_equal(targets, np.eye(CLASSES)[labels])


def test_randaugment_comes_after_mixing():
  images, labels = noise(2 * EXAMPLES)
  mixed, targets = run(MIXED, images, labels)
  both, same_targets = run(WHOLE, images, labels)
  operate = jax.jit(functools.partial(rand_augment, layers=2, magnitude=7.0))
  expected = operate(mixed, jax.random.split(KEY)[1], POSITIONS)
  assert both.dtype == np.float32
  assert (both.min(), both.max()) == (0, 255)
  assert np.array_equal(both, expected)
  assert np.array_equal(targets, same_targets)


@pytest.mark.parametrize('config', [WHOLE, NEIGHBOURS])
def test_devices_and_their_number_make_no_difference(config):
  images, labels = noise(config.images_per_example * EXAMPLES)

  def parts(x: np.ndarray) -> np.ndarray:
    """Each device's examples, and behind them their partners."""
    halves = x.reshape(config.images_per_example, 2, -1, *x.shape[1:]).swapaxes(0, 1)
    return halves.reshape(2, -1, *x.shape[1:])

  spread = jax.pmap(
    functools.partial(augment, classes=CLASSES, config=config), in_axes=(0, 0, None, 0)
  )(parts(images), parts(labels), KEY, POSITIONS.reshape(2, -1))
  for whole, part in zip(run(config, images, labels), spread, strict=True):
    assert np.array_equal(np.concatenate(part), whole)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'mixup': 0.0}, 'mixup=0.0'),
    ({'cutmix': -1.0}, 'cutmix=-1.0'),
    ({'layers': -1}, 'layers=-1'),
    ({'magnitude': -0.5}, 'magnitude=-0.5'),
    ({'distinct': False}, '16 images and 16 labels; 8 positions take 8'),
  ],
)
def test_what_is_wrong_is_named(fields, message):
  images, labels = noise(2 * EXAMPLES)
  with pytest.raises(InputError, match=message):
    augment(images, labels, KEY, POSITIONS, classes=CLASSES, config=Augmentation(**fields))


def test_wrong_shapes_are_named():
  images, labels = noise(3)
  with pytest.raises(InputError, match='3 images; an odd number'):
    augment(images, labels, KEY, POSITIONS[:3], classes=CLASSES, config=NEIGHBOURS)
  with pytest.raises(InputError, match=r'shape \(3, 12, 12, 1\)'):
    augment(images[..., :1], labels, KEY, POSITIONS[:3], classes=CLASSES, config=NEIGHBOURS)
  with pytest.raises(InputError, match='3 images and 2 labels'):
    augment(images, labels[:2], KEY, POSITIONS[:3], classes=CLASSES, config=NEIGHBOURS)


def test_one_program_for_all_steps():
  images, labels = noise(2 * EXAMPLES)
  run(MIXED, images, labels)
  for step in range(3):
    program(MIXED)(images, labels, jax.random.fold_in(KEY, step), POSITIONS + step)
  assert program(MIXED)._cache_size() == 1
