#!/usr/bin/env python3
"""Draws what training does to photographs: every operation of RandAugment, MixUp and CutMix.

Examples:
  scripts/augment.py one.jpg other.jpg --picture=augmentations.png
  scripts/augment.py one.jpg other.jpg --size=224 --magnitudes=5,10,15,20 --picture=strong.png

The first photograph is operated on, and the second mixed into it.  Lengths are pixels whatever the
size of the image, so that the size matters.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from nfnets import command_line
from nfnets.augment.augment import Augmentation, augment
from nfnets.augment.effects import NAMES
from nfnets.augment.randaugment import Draws, apply_operations, rand_augment
from nfnets.data.images import CropGeometry, eval_image
from nfnets.data.photos import read_photo
from nfnets.errors import InputError
from nfnets.output_files import check_writable
from nfnets.plots.augmentations import Row, plot_rows

PICTURE = flags.DEFINE_string('picture', None, 'PNG file to draw into.', required=True)
SIZE = flags.DEFINE_integer('size', 192, 'Side of the images in pixels.', lower_bound=16)
MAGNITUDES = flags.DEFINE_list('magnitudes', ['3', '5', '10', '15'], 'Of the operations.')
LAYERS = flags.DEFINE_integer('layers', 4, 'Operations one after the other.', lower_bound=1)
SEED = flags.DEFINE_integer('seed', 0, 'Of all that is random.', lower_bound=0)
NOTE = flags.DEFINE_string('note', '', 'What to say below, such as who took the photographs.')

WITHOUT_MAGNITUDE = ('AutoContrast', 'Equalize', 'Invert')
DRAWS = 4  # pictures of what is random


def main(argv: list[str]) -> None:
  """Augments and draws."""
  if len(argv) != 3:
    raise InputError(
      f'name two photos, not {len(argv) - 1}: augment.py ONE OTHER --picture=OUT.png'
    )
  if not PICTURE.value.endswith('.png'):
    raise InputError(f'--picture={PICTURE.value}: the name of a PNG file ends in .png')
  check_writable('--picture', PICTURE.value)
  magnitudes = [as_magnitude(text) for text in MAGNITUDES.value]
  one, other = (read_square(path) for path in argv[1:])
  rows = [
    *operation_rows(one, magnitudes),
    *mixing_rows(one, other),
    *layers_rows(one, magnitudes),
  ]
  plot_rows(rows, Path(PICTURE.value).expanduser(), note=NOTE.value)
  at = ', '.join(f'{one:g}' for one in magnitudes)
  print(f'wrote {PICTURE.value}: {len(NAMES)} operations at {at}')


def as_magnitude(text: str) -> float:
  """The number that a person wrote."""
  try:
    magnitude = float(text)
  except ValueError:
    magnitude = -1.0
  if not 0 <= magnitude <= 100:
    raise InputError(f'--magnitudes={",".join(MAGNITUDES.value)}: {text!r} is not 0 to 100')
  return magnitude


def read_square(path: str) -> np.ndarray:
  """The middle of a photograph, uint8 [S, S, 3]."""
  try:
    pixels = read_photo(Path(path).read_bytes())
  except OSError as error:
    raise InputError(f'{path} cannot be read: {error.strerror}') from error
  return eval_image(pixels, CropGeometry(size=SIZE.value, fraction=1.0)).astype(np.uint8)


def operation_rows(photo: np.ndarray, magnitudes: list[float]) -> Iterator[Row]:
  """The operations that know no magnitude in one row, the others in one each, sides in turns."""
  images = jnp.tile(photo[None], (len(NAMES), 1, 1, 1))
  at = [
    np.asarray(jax.jit(functools.partial(apply_operations, magnitude=one))(images, draws(i)))
    for i, one in enumerate(magnitudes)
  ]
  plain = [at[0][NAMES.index(name)] for name in WITHOUT_MAGNITUDE]
  yield Row('at any\nmagnitude', [photo, *plain], ['as it is', *WITHOUT_MAGNITUDE])
  for i, name in enumerate(NAMES):
    if name not in WITHOUT_MAGNITUDE:
      yield Row(name, [one[i] for one in at], [f'{magnitude:g}' for magnitude in magnitudes])


def draws(turn: int) -> Draws:
  """Every operation once, to the positive side in even turns; the box a little off the middle."""
  count, centre = len(NAMES), (SIZE.value * 2 // 5, SIZE.value * 3 // 5)
  return Draws(
    operations=jnp.arange(count),
    signs=jnp.full(count, 1 - turn % 2),
    centres=jnp.tile(jnp.array([centre]), (count, 1)),
  )


def mixing_rows(one: np.ndarray, other: np.ndarray) -> Iterator[Row]:
  """MixUp and CutMix at random."""
  images = jnp.repeat(jnp.stack([one, other]), DRAWS, axis=0)
  labels = jnp.repeat(jnp.arange(2), DRAWS)
  for title, config in (
    # Beta(1, 1) where training has Beta(0.2, 0.2): most of its shares are next to 0 or 1.
    ('MixUp\nby share', Augmentation(mixup=1.0, cutmix=None, layers=0)),
    ('CutMix\nby share', Augmentation(mixup=None, layers=0)),
  ):
    program = jax.jit(functools.partial(augment, classes=2, config=config))
    mixed, targets = program(images, labels, jax.random.key(SEED.value), jnp.arange(DRAWS))
    captions = [f'{share:.0%}' for share in targets[:, 0]]
    yield Row(title, list(np.asarray(mixed).astype(np.uint8)), captions)


def layers_rows(photo: np.ndarray, magnitudes: list[float]) -> Iterator[Row]:
  """Whole RandAugment at random, at the two magnitudes in the middle."""
  images, key = jnp.repeat(photo[None], DRAWS, axis=0), jax.random.key(SEED.value)
  middle = (len(magnitudes) - 1) // 2
  for magnitude in magnitudes[middle : middle + 2]:
    program = jax.jit(functools.partial(rand_augment, layers=LAYERS.value, magnitude=magnitude))
    pictures = list(np.asarray(program(images, key, jnp.arange(DRAWS))))
    yield Row(f'{LAYERS.value} layers\nat {magnitude:g}', pictures, [''] * DRAWS)


if __name__ == '__main__':
  command_line.run(main)
