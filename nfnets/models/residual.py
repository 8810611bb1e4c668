"""The one network body, and what a family plugs into it."""

import dataclasses
from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets.errors import InputError
from nfnets.models import plan
from nfnets.models.layers import Layer, Linear, Mode, dropout, scalar
from nfnets.models.plan import Place
from nfnets.models.taps import tap
from nfnets.models.variants import Variant


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """What distinguishes one family of residual networks from another.

  Every function is called while `ResidualNet` is built, so that the modules it makes are named
  '<root>/~/<name>': the parameter paths of the released checkpoints.
  """

  root: str
  """Name of the network's module: the first part of every parameter path."""
  stem: Callable[[Variant], Layer]
  """Images to features."""
  stem_channels: Callable[[Variant], int]
  """Channels of those features."""
  block: Callable[[Place, Variant], Layer]
  """One residual block."""
  neck: Callable[[Variant], Layer]
  """The last block's output to what is pooled."""
  classifier_init: hk.initializers.Initializer
  tracks_variance: bool = True
  """Whether blocks normalize their input by its predicted variance."""
  classifier_bias: str | None = None
  """Name of a parameter of one number, added to what is classified."""


class ResidualNet(hk.Module):
  """stem -> residual blocks -> neck -> mean over space -> dropout -> classifier.

  `num_classes=0` leaves dropout and classifier out.  Computes in the dtype of the images, except
  for the pooled vector and the logits, which are float32.
  """

  def __init__(
    self, family: Family, variant: Variant, num_classes: int, *, name: str | None = None
  ):
    super().__init__(name=name or family.root)
    if num_classes < 0:
      raise InputError(f'num_classes={num_classes} must be 0 (no classifier) or more')
    self.family, self.variant = family, variant
    stem_channels = family.stem_channels(variant)
    self.stem = family.stem(variant)
    self.blocks = [
      family.block(place, variant)
      for place in plan.walk(
        stem_channels,
        widths=variant.widths,
        depths=variant.depths,
        strides=variant.strides,
        alpha=variant.alpha if family.tracks_variance else 0.0,
      )
    ]
    self.neck = family.neck(variant)
    self.classifier = None
    if num_classes:
      self.classifier = Linear(num_classes, w_init=family.classifier_init, name='linear')

  def __call__(
    self,
    images: jax.Array,
    is_training: bool,
    *,
    return_features: bool = False,
    example_ids: jax.Array | None = None,
  ) -> dict[str, jax.Array]:
    """Classifies `images` [N, H, W, C] of a floating dtype; any H and W.

    Args:
      images: normalized images.
      is_training: switches dropout and stochastic depth on; they then need a random key.
      return_features: also return the output of the stem and of every block.
      example_ids: [N] integers that number the examples; what is random for an example depends on
        its number alone.  0 to N - 1 by default.

    Returns:
      `logits` [N, num_classes] (unless `num_classes=0`), `pool` [N, channels]; with
      `return_features` also `stem`, `block_0`, `block_1`, ... [N, h, w, channels].
    """
    _check_images(images)
    ids = jnp.arange(len(images)) if example_ids is None else example_ids
    mode = Mode(is_training, ids)
    features = {'stem': self.stem(images, mode)}
    x = features['stem']
    for index, block in enumerate(self.blocks):
      x = features[f'block_{index}'] = tap('block', block(x, mode))
    pool = jnp.mean(self.neck(x, mode).astype(jnp.float32), axis=(1, 2))
    outputs = {'pool': pool}
    if self.classifier is not None:
      kept = dropout(pool, self.variant.drop_rate, mode)
      if self.family.classifier_bias:
        kept = kept + scalar(self.family.classifier_bias, kept)
      outputs['logits'] = self.classifier(kept)
    return features | outputs if return_features else outputs


def _check_images(images: jax.Array) -> None:
  if images.ndim != 4:
    raise InputError(f'images of shape {images.shape}: expected [N, H, W, C]')
  if not jnp.issubdtype(images.dtype, jnp.floating):
    raise InputError(
      f'images of dtype {images.dtype}: expected normalized pixels, float32 or bfloat16'
    )
