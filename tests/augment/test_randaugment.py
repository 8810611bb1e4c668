"""RandAugment: every operation does what it is defined to do, and chance is fair."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augment import oracle
from PIL import Image, ImageStat

from nfnets.augment.effects import NAMES, effects
from nfnets.augment.randaugment import Draws, apply_operations, draw_operations, rand_augment

HEIGHT, WIDTH = 70, 56  # even: an odd side has a centre that a turn by 30 degrees puts on a tie
SIGNS = (-1, 1)
CENTRE = (9, 50)
CASES = [(name, sign) for name in NAMES for sign in SIGNS]


def photograph(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
  """uint8 [height, width, 3]: something smooth, other in each channel, with some noise."""
  rng = np.random.default_rng(seed)
  rows, columns = np.mgrid[:height, :width] / 11
  waves = [np.sin(rows + i * columns + i) + np.cos((i - 1) * rows - columns) for i in range(3)]
  noise = rng.normal(0, 6, (height, width, 3))
  return np.clip(np.stack(waves, -1) * (30, 45, 60) + (90, 120, 150) + noise, 7, 251).astype(
    'uint8'
  )


def draws_of(cases: list[tuple[str, int]]) -> Draws:
  return Draws(
    operations=jnp.array([NAMES.index(name) for name, _ in cases]),
    signs=jnp.array([SIGNS.index(sign) for _, sign in cases]),
    centres=jnp.tile(jnp.array([CENTRE]), (len(cases), 1)),
  )


@functools.cache
def program(magnitude: int, as_released: bool = False) -> Callable[..., jax.Array]:
  return jax.jit(functools.partial(apply_operations, magnitude=magnitude, as_released=as_released))


@functools.cache
def applied(magnitude: int, as_released: bool = False) -> dict[tuple[str, int], np.ndarray]:
  """The photograph after every operation to either side, all in one batch."""
  images = jnp.tile(photograph()[None], (len(CASES), 1, 1, 1))
  results = program(magnitude, as_released)(images, draws_of(CASES))
  assert results.dtype == jnp.uint8
  return dict(zip(CASES, np.asarray(results), strict=True))


@pytest.mark.parametrize('magnitude', oracle.STRENGTHS)
@pytest.mark.parametrize('name', NAMES)
def test_an_operation_is_what_pillow_does(name, magnitude):
  may_tie = 0.005 if name == 'Rotate' else 0.0
  rounded = {'AutoContrast', 'Color', 'Contrast', 'Brightness', 'Sharpness'}  # the rest is exact
  for sign in SIGNS:
    expected = oracle.apply(name, photograph(), magnitude, sign, CENTRE).astype(int)
    apart = np.any(np.abs(applied(magnitude)[name, sign] - expected) > (name in rounded), axis=-1)
    assert apart.mean() <= may_tie


def test_sixteen_operations():
  colours = {'AutoContrast', 'Equalize', 'Invert', 'Posterize', 'Solarize', 'SolarizeAdd'}
  enhanced = {'Color', 'Contrast', 'Brightness', 'Sharpness'}
  moved = {'Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Cutout'}
  assert len(NAMES) == 16
  assert set(NAMES) == colours | enhanced | moved


@pytest.mark.parametrize('name', ['Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY'])
def test_the_sign_changes_the_side(name):
  before, after = (applied(1)[name, sign] for sign in SIGNS)
  assert not np.array_equal(before, after)


def test_what_does_nothing_keeps_every_bit():
  for name in ('Color', 'Contrast', 'Brightness', 'Sharpness'):
    assert np.array_equal(applied(5)[name, 1], photograph())  # their factor is 1 there
  assert np.array_equal(applied(15)['Solarize', 1], photograph())
  changed = set(NAMES) - {'Solarize'}
  assert not any(np.array_equal(applied(15)[name, 1], photograph()) for name in changed)


def test_as_released_contrast_starts_from_the_size():
  image, start = photograph().astype(int), HEIGHT * WIDTH // 256
  assert abs(ImageStat.Stat(Image.fromarray(photograph()).convert('L')).mean[0] - start) > 50
  away = np.clip(start + 2.8 * (image - start), 0, 255)
  assert np.max(np.abs(applied(15, True)['Contrast', 1] - away)) <= 1


def test_as_released_the_threshold_of_solarize_is_a_byte():
  image = photograph().astype(int)
  half = np.where(image < 128, image, 255 - image)  # 384 - 256
  assert np.array_equal(applied(15, True)['Solarize', 1], half)
  inverted = effects(10, HEIGHT, WIDTH, as_released=True).tables[NAMES.index('Solarize')]
  assert np.array_equal(inverted, 255 - np.arange(256))


def test_as_released_all_else_is_the_same():
  for case in CASES:
    if case[0] not in ('Solarize', 'Contrast'):
      assert np.array_equal(applied(15, True)[case], applied(15)[case])


def test_lengths_follow_the_size_that_is_asked_for():
  """For images of 32 pixels the 50 and the 20 of magnitude 5 are too much."""
  papers, small = effects(5, 32, 32), effects(5, 32, 32, translate=10, cutout=16)
  to_the_right, down = NAMES.index('TranslateX'), NAMES.index('TranslateY')
  assert papers.matrices[to_the_right, 1, 0].tolist() == [1, 0, 50]
  assert small.matrices[to_the_right, 1, 0].tolist() == [1, 0, 5]
  assert small.matrices[down, 0, 1].tolist() == [0, 1, -5]
  box = NAMES.index('Cutout')
  assert (papers.reaches[box], small.reaches[box]) == (20, 8)
  for one, other in zip(papers, small, strict=True):
    others = [i for i, name in enumerate(NAMES) if i not in (to_the_right, down, box)]
    np.testing.assert_array_equal(one[others], other[others])


@pytest.mark.parametrize('name', ['AutoContrast', 'Equalize', 'Contrast', 'Sharpness'])
def test_channels_of_few_levels(name):
  flat = np.empty((HEIGHT, WIDTH, 3), np.uint8)
  flat[..., 0] = 37
  flat[..., 1] = np.where(np.arange(WIDTH) < 5, 10, 11)
  flat[..., 2] = np.arange(WIDTH) % 3 * 100
  batch = jnp.tile(flat[None], (len(CASES), 1, 1, 1))
  results = program(15)(batch, draws_of(CASES))
  expected = oracle.apply(name, flat, 15, 1, CENTRE).astype(int)
  assert np.max(np.abs(np.asarray(results)[CASES.index((name, 1))] - expected)) <= 1


SMALL = {'height': 14, 'width': 18}
BATCH = np.stack([photograph(seed, **SMALL) + np.uint8(seed) for seed in range(32)])
POSITIONS = np.arange(32) * 3 + 100
KEY = jax.random.key(7)

augmented = jax.jit(functools.partial(rand_augment, layers=4, magnitude=15))


def test_an_image_does_not_depend_on_its_neighbours():
  whole = augmented(BATCH, KEY, POSITIONS)
  order = np.random.default_rng(0).permutation(len(BATCH))
  others = BATCH.copy()
  others[1::2] = 255 - others[1::2]
  assert np.array_equal(augmented(BATCH[order], KEY, POSITIONS[order]), whole[order])
  assert np.array_equal(augmented(others, KEY, POSITIONS)[::2], whole[::2])
  assert not np.array_equal(augmented(others, KEY, POSITIONS)[1::2], whole[1::2])


def test_two_devices_do_what_one_does():
  def parts(x):
    return x.reshape(2, -1, *x.shape[1:])

  whole = augmented(BATCH, KEY, POSITIONS)
  spread = jax.vmap(augmented, in_axes=(0, None, 0))(parts(BATCH), KEY, parts(POSITIONS))
  assert np.array_equal(np.concatenate(spread), whole)


def test_other_keys_and_positions_are_other_images():
  whole = augmented(BATCH, KEY, POSITIONS)
  assert not np.array_equal(augmented(BATCH, jax.random.key(8), POSITIONS), whole)
  assert not np.array_equal(augmented(BATCH, KEY, POSITIONS + 1), whole)


def test_layers_follow_each_other():
  drawn = draw_operations(KEY, POSITIONS, layers=4, **SMALL)
  images = jnp.asarray(BATCH)
  for layer in range(4):
    images = program(15)(images, jax.tree.map(lambda x, layer=layer: x[layer], drawn))
  assert np.array_equal(augmented(BATCH, KEY, POSITIONS), images)


def test_fractions_are_cut_off_and_the_range_is_kept():
  floats = BATCH.astype(np.float32) + 0.75
  floats[:, 0, 0], floats[:, -1, -1] = -40.0, 300.0
  cut = BATCH.copy()
  cut[:, 0, 0], cut[:, -1, -1] = 0, 255
  results = augmented(floats, KEY, POSITIONS)
  assert results.dtype == jnp.uint8
  assert np.array_equal(results, augmented(cut, KEY, POSITIONS))


def test_one_program_for_all_keys_and_positions():
  augmented(BATCH, KEY, POSITIONS)
  before = augmented._cache_size()
  for seed in range(3):
    augmented(BATCH, jax.random.key(seed), POSITIONS + seed)
  assert augmented._cache_size() == before


MANY, LAYERS = 8192, 2


@functools.cache
def many_draws() -> Draws:
  draw = functools.partial(draw_operations, layers=LAYERS, height=5, width=300)
  return jax.tree.map(np.asarray, jax.jit(draw)(KEY, jnp.arange(MANY)))


def chi_square(counts: np.ndarray) -> float:
  expected = counts.sum() / counts.size
  return float(np.sum((counts - expected) ** 2) / expected)


def test_all_operations_are_equally_frequent_in_every_layer():
  operations = many_draws().operations
  assert operations.shape == (LAYERS, MANY)
  for layer in operations:
    assert chi_square(np.bincount(layer, minlength=16)) < 37.7  # p = 0.001, 15 degrees of freedom
  pairs = np.bincount(operations[0] * 16 + operations[1], minlength=256)
  assert chi_square(pairs) < 330.5  # 255 degrees: the layers are independent


def test_half_of_the_signs_are_negative_whatever_the_operation():
  drawn = many_draws()
  cells = np.bincount((drawn.operations * 2 + drawn.signs).ravel(), minlength=32)
  assert chi_square(cells) < 61.1  # 31 degrees


def test_boxes_lie_everywhere():
  rows, columns = many_draws().centres.reshape(-1, 2).T
  assert chi_square(np.bincount(rows, minlength=5)) < 18.5  # 4 degrees
  assert chi_square(np.bincount(columns // 30, minlength=10)) < 27.9  # 9 degrees
  assert (columns.min(), columns.max()) == (0, 299)
