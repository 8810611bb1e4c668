"""From a batch of bytes and labels to augmented pixels and soft targets, on the accelerator."""

import dataclasses

import jax
import jax.numpy as jnp

from nfnets.arguments import check_number
from nfnets.augment.effects import CUTOUT, TRANSLATE
from nfnets.augment.mix import draw_mixture, mix_images, mix_labels
from nfnets.augment.randaugment import rand_augment
from nfnets.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
  """What is done to training images: mixing first, then RandAugment.

  The defaults are those of the NFNets (Brock et al. 2021, arXiv 2102.06171, appendix A.3), F1 and
  F2 for the magnitude.
  """

  mixup: float | None = 0.2
  """a of the Beta(a, a) that MixUp draws shares of; None for no MixUp."""
  cutmix: float | None = 1.0
  """Likewise for CutMix.  With both, each has half of the examples."""
  distinct: bool = True
  """Mix with images that are seen nowhere else, two for each example; otherwise with neighbours
  in the batch, which halves the decoding."""
  layers: int = 4
  """Operations of RandAugment on each image; 0 for none."""
  magnitude: float = 10.0
  """Of the operations."""
  translate: float = TRANSLATE
  """Pixels by which Translate moves an image at magnitude 10."""
  cutout: float = CUTOUT
  """Pixels from the centre of Cutout's box to its sides at magnitude 10."""
  as_released: bool = False
  """Solarize and Contrast as in the released training code; see `randaugment.apply_operations`."""

  @property
  def mixes(self) -> bool:
    """Whether images are mixed at all."""
    return self.mixup is not None or self.cutmix is not None

  @property
  def images_per_example(self) -> int:
    """How many images are handed in for each that comes out."""
    return 2 if self.mixes and self.distinct else 1

  @property
  def examples_together(self) -> int:
    """How many examples in a row must be in one batch: neighbours that are mixed."""
    return 2 if self.mixes and not self.distinct else 1


def augment(
  images: jax.Array,
  labels: jax.Array,
  key: jax.Array,
  positions: jax.Array,
  *,
  classes: int,
  config: Augmentation,
) -> tuple[jax.Array, jax.Array]:
  """Augments a batch; what is random for an example is a function of key and position alone.

  Args:
    images: [M, H, W, 3] bytes, M being N `config.images_per_example`.  Where that is 2, example i
      is image i mixed with image N + i.
    labels: [M] integers.
    key: of the step.
    positions: [N] integers: places in the global batch of the examples that come out.
    classes: how many there are.
    config: what is done.

  Returns:
    images, float32 [N, H, W, 3], 0 to 255; targets, float32 [N, classes], of sum 1, not smoothed.

  Raises:
    InputError: a field of `config` is out of range, the shapes do not fit each other, or there is
      an odd number of images that are to be mixed with their neighbours.
  """
  _check(images, labels, positions, config)
  for_mixing, for_operations = jax.random.split(key)
  if config.mixes:
    _, height, width, _ = images.shape
    mixture = draw_mixture(
      for_mixing,
      positions,
      height=height,
      width=width,
      mixup=config.mixup,
      cutmix=config.cutmix,
    )
    pixels = mix_images(*_pairs(images, config.distinct), mixture)
    targets = mix_labels(*_pairs(labels, config.distinct), mixture.share, classes)
  else:
    pixels, targets = images, jax.nn.one_hot(labels, classes)
  if config.layers:
    pixels = rand_augment(
      pixels,
      for_operations,
      positions,
      layers=config.layers,
      magnitude=config.magnitude,
      translate=config.translate,
      cutout=config.cutout,
      as_released=config.as_released,
    )
  return pixels.astype(jnp.float32), targets


def _pairs(x: jax.Array, distinct: bool) -> tuple[jax.Array, jax.Array]:
  """Examples and their partners."""
  if distinct:
    return x[: len(x) // 2], x[len(x) // 2 :]
  # Neighbours swap places: unlike a rolled batch, this is the same on any number of devices.
  return x, x.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)


def _check(
  images: jax.Array, labels: jax.Array, positions: jax.Array, config: Augmentation
) -> None:
  for name in ('mixup', 'cutmix'):
    if getattr(config, name) is not None:
      check_number(name, getattr(config, name), above=0)
  check_number('layers', config.layers, at_least=0)
  for name in ('magnitude', 'translate', 'cutout'):
    check_number(name, getattr(config, name), at_least=0)
  if images.ndim != 4 or images.shape[-1] != 3:
    raise InputError(f'images of the shape {images.shape}; it must be [N, H, W, 3]')
  wanted = config.images_per_example * len(positions)
  if not len(images) == len(labels) == wanted:
    raise InputError(
      f'{len(images)} images and {len(labels)} labels; {len(positions)} positions take {wanted} '
      f'of both'
    )
  if config.mixes and not config.distinct and len(images) % 2:
    raise InputError(f'{len(images)} images; an odd number cannot be mixed in pairs')
