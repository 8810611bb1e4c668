"""Name -> model: the only look-up of networks."""

import dataclasses
import fnmatch
import functools
import math
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets.errors import InputError
from nfnets.models.activations import find_activation
from nfnets.models.families import FAMILIES
from nfnets.models.initialization import initialize
from nfnets.models.residual import ResidualNet
from nfnets.models.variants import VARIANTS, Variant, find_variant

Params = hk.MutableParams
State = hk.MutableState


@dataclasses.dataclass(frozen=True)
class Model:
  """A network with its parameters outside: two pure functions, `init` and `apply`.

  Both work under `jit`, `grad`, `vmap`, `pmap`, `eval_shape` and `jax.checkpoint`.
  """

  name: str
  variant: Variant
  num_classes: int
  in_channels: int = 3

  def module(self) -> ResidualNet:
    """The Haiku module, to be made inside a transformed function."""
    return ResidualNet(FAMILIES[self.variant.family], self.variant, self.num_classes)

  def init(self, rng: jax.Array) -> tuple[Params, State]:
    """Fresh float32 parameters, and state (empty for normalizer-free networks).

    Args:
      rng: a key; every parameter is a function of it and of the parameter's path.

    Returns:
      Two mappings, module path -> {name: array}.
    """
    size = self.variant.train_size
    image = jax.ShapeDtypeStruct((1, size, size, self.in_channels), jnp.float32)
    # As in training: only then are all statistics of batch normalization asked for.
    return initialize(functools.partial(self._forward, is_training=True), rng, image)

  def apply(
    self,
    params: Params,
    state: State,
    rng: jax.Array | None,
    images: jax.Array,
    *,
    is_training: bool = False,
    return_features: bool = False,
    example_ids: jax.Array | None = None,
  ) -> tuple[dict[str, jax.Array], State]:
    """Runs the network on `images` [N, H, W, in_channels], normalized, in float32 or bfloat16.

    Args:
      params: as `init` makes them.
      state: as `init` makes it.
      rng: a key for dropout and stochastic depth; None when not training.
      images: any H and W; the network computes in their dtype.
      is_training: switches dropout and stochastic depth on.
      return_features: also return the stem's and every block's output, by name.
      example_ids: [N] integers; what is random for an example depends on `rng` and its id.

    Returns:
      The outputs (`logits` [N, num_classes], `pool` [N, channels], features on request), and the
      new state.

    Raises:
      InputError: the images are none that a network takes, or a key is missing.
    """
    if is_training and rng is None and (self.variant.drop_rate or self.variant.stochdepth_rate):
      raise InputError(
        'rng=None: with is_training=True a key is needed for dropout and stochastic depth'
      )
    return self._transformed().apply(
      params,
      state,
      rng,
      images,
      is_training=is_training,
      return_features=return_features,
      example_ids=example_ids,
    )

  def _transformed(self) -> hk.TransformedWithState:
    return hk.transform_with_state(self._forward)

  def _forward(
    self, images: jax.Array, is_training: bool = False, **options: Any
  ) -> dict[str, jax.Array]:
    return self.module()(images, is_training, **options)


def create_model(
  name: str,
  num_classes: int = 1000,
  *,
  in_channels: int = 3,
  drop_rate: float | None = None,
  stochdepth_rate: float | None = None,
  skip_gain: float | None = None,
  activation: str | None = None,
) -> Model:
  """The network called `name`.

  Args:
    name: one of `list_models()`.
    num_classes: outputs of the classifier; 0 for a headless network (`pool` only).
    in_channels: channels of the images.
    drop_rate: dropout before the classifier; the variant's own by default.
    stochdepth_rate: of the last block; the variant's own by default.
    skip_gain: initial value of the SkipInit gains; the variant's own (0) by default.
    activation: key of the table of activations; the variant's own by default.

  Raises:
    InputError: there is no such network or activation, or a number is out of its range.
  """
  for argument, number, least in (('num_classes', num_classes, 0), ('in_channels', in_channels, 1)):
    if number < least:
      raise InputError(f'{argument}={number} must be {least} or more')
  changes = {
    'drop_rate': drop_rate,
    'stochdepth_rate': stochdepth_rate,
    'skip_gain': skip_gain,
    'activation': activation,
  }
  for argument in ('drop_rate', 'stochdepth_rate'):
    rate = changes[argument]
    if rate is not None and not 0 <= rate < 1:
      raise InputError(f'{argument}={rate} is not a probability in [0, 1)')
  if skip_gain is not None and not math.isfinite(skip_gain):
    raise InputError(f'skip_gain={skip_gain} is not finite')
  if activation is not None:
    find_activation(activation)
  given = {argument: value for argument, value in changes.items() if value is not None}
  variant = dataclasses.replace(find_variant(name), **given)
  return Model(name, variant, num_classes, in_channels)


def list_models(pattern: str = '*') -> list[str]:
  """Names of the networks that match a shell pattern, in the order of the papers' tables."""
  return [name for name in VARIANTS if fnmatch.fnmatch(name, pattern)]
