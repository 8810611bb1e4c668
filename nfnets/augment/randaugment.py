"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719): random operations on images, in layers.

Each layer applies one of sixteen operations to each image, all at one magnitude, to one side or the
other at random.  Which operation, is data: every image goes through a warp, a look-up table, a
blend and a box, and all but one of them leave it as it is.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from nfnets.augment import operations as ops
from nfnets.augment.effects import CUTOUT, NAMES, TRANSLATE, effects
from nfnets.augment.histograms import equalized, histograms, stretched
from nfnets.augment.keys import example_keys


class Draws(NamedTuple):
  """What is random, for images or for layers of images."""

  operations: jax.Array
  """int32 [..., N]: places in `effects.NAMES`."""
  signs: jax.Array
  """int32 [..., N]: 0 negative, 1 positive; of rotations, shears and shifts."""
  centres: jax.Array
  """int32 [..., N, 2]: row and column of the box."""


def rand_augment(
  images: jax.Array,
  key: jax.Array,
  positions: jax.Array,
  *,
  layers: int,
  magnitude: float,
  translate: float = TRANSLATE,
  cutout: float = CUTOUT,
  as_released: bool = False,
) -> jax.Array:
  """Applies `layers` random operations to each image, one after the other.

  Args:
    images: [N, H, W, 3] pixels, 0 to 255, of any dtype; fractions are cut off.
    key: of the step.
    positions: [N] integers; what happens to an image is a function of key and position.
    layers: how many operations.
    magnitude: of all of them; 10 is strong.
    translate: pixels by which Translate moves an image at magnitude 10.
    cutout: pixels from the centre of Cutout's box to its sides at magnitude 10.
    as_released: see `apply_operations`.

  Returns:
    uint8 [N, H, W, 3].
  """
  _, height, width, _ = images.shape

  def layer(images: jax.Array, draws: Draws) -> tuple[jax.Array, None]:
    done = apply_operations(
      images,
      draws,
      magnitude=magnitude,
      translate=translate,
      cutout=cutout,
      as_released=as_released,
    )
    return done, None

  drawn = draw_operations(key, positions, layers=layers, height=height, width=width)
  pixels = jnp.clip(images, 0, 255).astype(jnp.uint8)
  return jax.lax.scan(layer, pixels, drawn)[0]


def draw_operations(
  key: jax.Array, positions: jax.Array, *, layers: int, height: int, width: int
) -> Draws:
  """What is random in `layers` layers over images of a size: the arrays are [layers, N, ...]."""
  draw = jax.vmap(lambda one: jax.random.uniform(one, (layers, 4)))
  numbers = jnp.swapaxes(draw(example_keys(key, positions)), 0, 1)
  bounds = jnp.asarray([len(NAMES), 2, height, width], jnp.float32)
  whole = jnp.floor(numbers * bounds).astype(jnp.int32)
  return Draws(operations=whole[..., 0], signs=whole[..., 1], centres=whole[..., 2:])


def apply_operations(
  images: jax.Array,
  draws: Draws,
  *,
  magnitude: float,
  translate: float = TRANSLATE,
  cutout: float = CUTOUT,
  as_released: bool = False,
) -> jax.Array:
  """Applies one operation to each image.

  Args:
    images: uint8 [N, H, W, 3].
    draws: which operation, to which side, where: arrays [N, ...].
    magnitude: of all operations.
    translate: see `rand_augment`.
    cutout: likewise.
    as_released: do as the training code released with the NFNets where it departs from the
      definitions: it compares with Solarize's threshold modulo 256, and Contrast starts from the
      level H W / 256 (255 at most), not from the image's mean.

  Returns:
    uint8 [N, H, W, 3].
  """
  _, height, width, _ = images.shape
  numbers = effects(
    magnitude, height, width, translate=translate, cutout=cutout, as_released=as_released
  )
  table = jax.tree.map(jnp.asarray, numbers)
  middle = jnp.float32(min(height * width // 256, 255)) if as_released else None
  start = _blend_start(images, draws.operations, middle)
  # The barrier keeps the tables from being computed again for every pixel.
  tables = jax.lax.optimization_barrier(_tables(images, draws.operations, table.tables))
  # Since one of them does something, they may stand in any order.  What reads many pixels for one
  # comes first: compilers would compute again for each of them what came before.
  images = ops.blend(images, start, table.factors[draws.operations])
  images = ops.look_up(images, tables)
  images = ops.warp(images, table.matrices[draws.operations, draws.signs])
  return ops.cut_out(images, draws.centres, table.reaches[draws.operations])


def _tables(images: jax.Array, operations: jax.Array, fixed: jax.Array) -> jax.Array:
  """uint8 [N, 256, 3]: the look-up tables of the images."""
  counts = histograms(images)
  chosen = operations[:, None, None]
  tables = fixed[operations][:, :, None]
  tables = jnp.where(chosen == NAMES.index('AutoContrast'), stretched(counts), tables)
  return jnp.where(chosen == NAMES.index('Equalize'), equalized(counts), tables)


def _blend_start(images: jax.Array, operations: jax.Array, middle: jax.Array | None) -> jax.Array:
  """float32 [N, H, W, 3]: the images without what their operations enhance; black for most."""
  grey = ops.luminance(images)
  start = jnp.zeros(images.shape, jnp.float32)
  for name, without in (
    ('Color', grey),
    ('Contrast', ops.mean_level(grey) if middle is None else middle),
    ('Sharpness', ops.smooth(images)),
  ):
    start = jnp.where(operations[:, None, None, None] == NAMES.index(name), without, start)
  return start
