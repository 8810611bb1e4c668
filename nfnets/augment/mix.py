"""MixUp and CutMix: two images become one, and so do their labels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from nfnets.augment.keys import example_keys
from nfnets.errors import InputError


class Mixture(NamedTuple):
  """How much of each image stays, the rest being its partner's."""

  weights: jax.Array
  """float32 [N, H, W, 1], of each pixel; for CutMix 0 inside the box and 1 outside."""
  share: jax.Array
  """float32 [N], of the label: the mean of the weights."""


def draw_mixture(
  key: jax.Array,
  positions: jax.Array,
  *,
  height: int,
  width: int,
  mixup: float | None,
  cutmix: float | None,
) -> Mixture:
  """Draws how images are mixed; what is drawn is a function of key and position alone.

  MixUp (Zhang et al. 2017, arXiv 1710.09412) keeps a share of the whole image, CutMix (Yun et al.
  2019, arXiv 1905.04899) all but a box of the shape of the image, cut at its border.  With both,
  even positions are for MixUp and odd ones for CutMix.

  Args:
    key: of the step.
    positions: [N] integers.
    height: of the images.
    width: of the images.
    mixup: a of Beta(a, a), of which MixUp draws the share that stays; None for no MixUp.
    cutmix: likewise for CutMix, before the box is cut at the border.

  Raises:
    InputError: both are None.
  """
  if mixup is None and cutmix is None:
    raise InputError('mixup=None cutmix=None: at least one of them must be a number above 0')
  cut = jnp.broadcast_to(cutmix is not None, positions.shape)
  if mixup is not None and cutmix is not None:
    cut = positions % 2 == 1
  alphas = jnp.where(cut, cutmix or 1.0, mixup or 1.0)

  def draw(key: jax.Array, alpha: jax.Array) -> tuple[jax.Array, jax.Array]:
    for_share, for_centre = jax.random.split(key)
    # Gamma draws over their sum are Beta distributed; logarithms keep those of a small alpha.
    logs = jax.random.loggamma(for_share, alpha, (2,))
    return jax.nn.sigmoid(logs[0] - logs[1]), jax.random.uniform(for_centre, (2,))

  share, centre = jax.vmap(draw)(example_keys(key, positions), alphas)
  box = _box(share, centre, height, width)
  weights = jnp.where(cut[:, None, None], 1 - box, share[:, None, None])
  share = jnp.where(cut, 1 - jnp.mean(box, axis=(1, 2)), share)
  return Mixture(weights[..., None], share)


def _box(share: jax.Array, centre: jax.Array, height: int, width: int) -> jax.Array:
  """float32 [N, H, W]: 1 in a box of the area `1 - share`, which the border may cut."""
  ratio = jnp.sqrt(1 - share)

  def covered(length: int, centre: jax.Array) -> jax.Array:
    reach = jnp.floor(ratio * length).astype(jnp.int32) // 2
    offset = jnp.arange(length) - jnp.floor(centre * length).astype(jnp.int32)[:, None]
    return (offset >= -reach[:, None]) & (offset < reach[:, None])

  rows, columns = covered(height, centre[:, 0]), covered(width, centre[:, 1])
  return (rows[:, :, None] & columns[:, None, :]).astype(jnp.float32)


def mix_images(images: jax.Array, partners: jax.Array, mixture: Mixture) -> jax.Array:
  """float32 [N, H, W, 3]: of each image what stays, of its partner the rest.

  Args:
    images: [N, H, W, 3] pixels of any dtype.
    partners: likewise.
    mixture: as `draw_mixture` gives it.
  """
  other = partners.astype(jnp.float32)
  return other + mixture.weights * (images.astype(jnp.float32) - other)


def mix_labels(labels: jax.Array, partners: jax.Array, share: jax.Array, classes: int) -> jax.Array:
  """float32 [N, classes]: `share` on each label and the rest on its partner's.

  Args:
    labels: [N] integers.
    partners: [N] integers.
    share: [N], 0 to 1.
    classes: how many there are.
  """
  one, other = jax.nn.one_hot(labels, classes), jax.nn.one_hot(partners, classes)
  return other + share[:, None] * (one - other)
