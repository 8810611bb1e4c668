"""The one network body, and what a family plugs into it."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from nfnets import names
from nfnets.errors import InputError
from nfnets.models import plan, scanning
from nfnets.models.execution import DEFAULT_EXECUTION, Execution
from nfnets.models.layers import Layer, Linear, Mode, Terms, dropout, scalar
from nfnets.models.plan import Place
from nfnets.models.taps import is_collecting, tap
from nfnets.models.variants import Variant

Block = Callable[[jax.Array, Mode, Terms], jax.Array]


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
  stem_stride: int
  """By how much the stem makes images smaller."""
  block: Callable[[Place, Variant], Block]
  """One residual block, a Haiku module."""
  neck: Callable[[Variant], Layer]
  """The last block's output to what is pooled."""
  classifier_init: hk.initializers.Initializer
  unruled_classifier_init: hk.initializers.Initializer | None = None
  """The same for Fixup where its zeros are left out."""
  options: frozenset[str] = frozenset()
  """The fields of a variant that mean something to this family, beside those every family has."""
  tracks_variance: bool = True
  """Whether blocks normalize their input by its predicted variance."""
  classifier_bias: str | None = None
  """Name of a parameter of one number, added to what is classified."""

  def places(self, variant: Variant) -> Iterator[Place]:
    """Where each block of a network of this family sits, in order."""
    return plan.walk(
      variant.stem_channels,
      widths=variant.widths,
      depths=variant.depths,
      strides=variant.strides,
      alpha=variant.alpha if self.tracks_variance else 0.0,
    )

  def first_classifier(self, variant: Variant) -> hk.initializers.Initializer:
    """The initializer of the classifier's kernel."""
    unruled = self.unruled_classifier_init
    return unruled if unruled and variant.fixup_rules == 'shrunken' else self.classifier_init

  def least_size(self, variant: Variant) -> int:
    """The smallest side of images, in pixels: no stage but the last strides over a single one."""
    return self.stem_stride * int(np.prod(variant.strides[:-1]))


class ResidualNet(hk.Module):
  """stem -> residual blocks -> neck -> mean over space -> dropout -> classifier.

  `num_classes=0` leaves dropout and classifier out.  Computes in the dtype of the images, except
  for the pooled vector and the logits, which are float32.
  """

  def __init__(
    self,
    family: Family,
    variant: Variant,
    num_classes: int,
    *,
    execution: Execution = DEFAULT_EXECUTION,
    name: str | None = None,
  ):
    super().__init__(name=name or family.root)
    if num_classes < 0:
      raise InputError(f'num_classes={num_classes} must be 0 (no classifier) or more')
    self.family, self.variant, self.execution = family, variant, execution
    self.places = list(family.places(variant))
    self.stem = family.stem(variant)
    self.blocks = [family.block(place, variant) for place in self.places]
    self.neck = family.neck(variant)
    self.classifier = None
    if num_classes:
      first = family.first_classifier(variant)
      self.classifier = Linear(num_classes, w_init=first, name='linear')

  def __call__(
    self,
    images: jax.Array,
    is_training: bool,
    *,
    return_features: bool | Collection[str] = False,
    example_ids: jax.Array | None = None,
  ) -> dict[str, jax.Array]:
    """Classifies `images` [N, H, W, C] of a floating dtype; any H and W that its strides allow.

    Args:
      images: normalized images.
      is_training: switches dropout and stochastic depth on; they then need a random key.
      return_features: names of the features to return too, or True for all: 'stem', 'block_0',
        'block_1', ..., 'stage_0' (what its last block returns), 'stage_1', ..., and 'neck' (what is
        pooled).
      example_ids: [N] integers that number the examples; what is random for an example depends on
        its number alone.  0 to N - 1 by default.

    Returns:
      `logits` [N, num_classes] (unless `num_classes=0`), `pool` [N, channels]; and the features
      [N, h, w, channels].

    Raises:
      InputError: the images are none that the network takes, or there is no such feature.
    """
    self._check_images(images)
    wanted = self._wanted(return_features)
    mode = Mode(is_training, jnp.arange(len(images)) if example_ids is None else example_ids)
    terms = self._terms(mode)
    features: dict[str, jax.Array] = {}

    def found(name: str, x: jax.Array) -> jax.Array:
      if name in wanted:
        features[name] = x
      return x

    x = found('stem', self.stem(images, mode))
    for stage in range(len(self.variant.depths)):
      numbers = [place.index for place in self.places if place.stage == stage]
      if is_collecting() or wanted.intersection(f'block_{i}' for i in numbers[:-1]):
        for i in numbers:
          x = found(f'block_{i}', self._one_by_one([i], x, mode, terms))
      else:
        x = found(f'block_{numbers[-1]}', self._stage(numbers, x, mode, terms))
      found(f'stage_{stage}', x)
    x = found('neck', self.neck(x, mode))
    pool = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
    outputs = {'pool': pool}
    if self.classifier is not None:
      kept = dropout(pool, self.variant.drop_rate, mode)
      if self.family.classifier_bias and not self.variant.conventions.folded:
        kept = kept + scalar(self.family.classifier_bias, kept)
      outputs['logits'] = self.classifier(kept)
    return features | outputs

  @hk.transparent
  def _stage(
    self, numbers: Sequence[int], x: jax.Array, mode: Mode, terms: Sequence[Terms]
  ) -> jax.Array:
    """The blocks of one stage: those that are alike as one if there are many."""
    alike = len(numbers) - 1  # the first changes shape, or differs from the others otherwise
    threshold = self.execution.scan_from
    if threshold is None or alike < threshold:
      compute = functools.partial(self._one_by_one, numbers, mode=mode, terms=terms)
    else:
      compute = functools.partial(self._first_then_equal, numbers, mode=mode, terms=terms)
    if hk.running_init():
      return compute(x)
    return self.execution.rematerialized('stage', compute)(x)

  @hk.transparent
  def _one_by_one(
    self, numbers: Sequence[int], x: jax.Array, mode: Mode, terms: Sequence[Terms]
  ) -> jax.Array:
    for i in numbers:
      whole: Any = self.blocks[i]
      block = functools.partial(whole, mode=mode)
      if not (hk.running_init() or is_collecting()):
        block = self.execution.rematerialized('block', block)
      x = tap('block', block(x, terms=terms[i]))
    return x

  @hk.transparent
  def _first_then_equal(
    self, numbers: Sequence[int], x: jax.Array, mode: Mode, terms: Sequence[Terms]
  ) -> jax.Array:
    first, *others = numbers
    x = self._one_by_one([first], x, mode, terms)
    place = self.places[others[0]]

    def make() -> scanning.Block:
      block = self.family.block(place, self.variant)
      return lambda x, terms: block(x, mode, terms)

    return scanning.apply_equal(
      make,
      [self.blocks[i].module_name for i in others],
      x,
      [terms[i] for i in others],
      form=self.execution.equal_blocks,
      updates_state=mode.is_training,
      wrap=functools.partial(self.execution.rematerialized, 'block'),
    )

  @hk.transparent
  def _terms(self, mode: Mode) -> list[Terms]:
    rate = self.variant.stochdepth_rate
    kept = mode.kept([rate * place.depth_fraction for place in self.places])
    return [
      Terms(np.float32(place.beta), of_block)
      for place, of_block in zip(self.places, kept, strict=True)
    ]

  @hk.transparent
  def _wanted(self, names_or_all: bool | Collection[str]) -> frozenset[str]:
    if names_or_all is False:
      return frozenset()
    there_are = feature_names(self.variant)
    if names_or_all is True:
      return frozenset(there_are)
    asked = [names_or_all] if isinstance(names_or_all, str) else names_or_all
    table = dict.fromkeys(there_are)
    for name in asked:
      names.look_up(name, table, argument='return_features')
    return frozenset(asked)

  @hk.transparent
  def _check_images(self, images: jax.Array) -> None:
    if images.ndim != 4:
      raise InputError(f'images of shape {images.shape}: expected [N, H, W, C]')
    if not jnp.issubdtype(images.dtype, jnp.floating):
      raise InputError(
        f'images of dtype {images.dtype}: expected normalized pixels, float32 or bfloat16'
      )
    least = self.family.least_size(self.variant)
    if min(images.shape[1:3]) < least:
      height, width = images.shape[1:3]
      raise InputError(
        f'images of {height} x {width} pixels are too small for the strides of the network: '
        f'at least {least} x {least}'
      )


def feature_names(variant: Variant) -> list[str]:
  """What `return_features` knows, from the images to the pooled vector."""
  named, number = ['stem'], 0
  for stage, depth in enumerate(variant.depths):
    named += [f'block_{i}' for i in range(number, number + depth)]
    named.append(f'stage_{stage}')
    number += depth
  return [*named, 'neck']
