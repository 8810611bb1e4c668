"""Name -> model: the only look-up of networks."""

import dataclasses
import fnmatch
import functools
import numbers
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, get_args

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets import names
from nfnets.arguments import check_number
from nfnets.errors import InputError
from nfnets.models.activations import ACTIVATIONS
from nfnets.models.execution import DEFAULT_EXECUTION, Execution
from nfnets.models.families import FAMILIES
from nfnets.models.initialization import initialize, shapes
from nfnets.models.residual import Family, ResidualNet
from nfnets.models.variants import VARIANTS, FixupRules, Rounding, Variant, find_variant, widen

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
  execution: Execution = DEFAULT_EXECUTION
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)
  """What `create_model` needs beside the name and the execution to make the same network."""

  @property
  def family(self) -> Family:
    """What the networks of its family have in common."""
    return FAMILIES[self.variant.family]

  def module(self) -> ResidualNet:
    """The Haiku module, to be made inside a transformed function."""
    return ResidualNet(self.family, self.variant, self.num_classes, execution=self.execution)

  def init(self, rng: jax.Array, *, modules: Collection[str] | None = None) -> tuple[Params, State]:
    """Fresh float32 parameters, and state (empty for normalizer-free networks).

    Args:
      rng: a key; every parameter is a function of it and of the parameter's path.
      modules: paths of the modules wanted, such as a new classifier; None for all.

    Returns:
      Two mappings, module path -> {name: array}.
    """
    return initialize(self._training(), rng, self._image(), modules=modules)

  def shapes(self) -> tuple[Params, State]:
    """Shapes and dtypes of what `init` makes, as `jax.ShapeDtypeStruct`s."""
    # Equal blocks have equal shapes: in a loop, one of them is traced for all.
    looped = dataclasses.replace(self, execution=Execution(scan_from=2))
    # Without batch normalization nothing but the drawing of what is dropped depends on training.
    is_training = not self.family.tracks_variance
    return shapes(functools.partial(looped._forward, is_training=is_training), self._image())

  def apply(
    self,
    params: Params,
    state: State,
    rng: jax.Array | None,
    images: jax.Array,
    *,
    is_training: bool = False,
    return_features: bool | Collection[str] = False,
    example_ids: jax.Array | None = None,
  ) -> tuple[dict[str, jax.Array], State]:
    """Runs the network on `images` [N, H, W, in_channels], normalized, in float32 or bfloat16.

    Args:
      params: as `init` makes them.
      state: as `init` makes it.
      rng: a key for dropout and stochastic depth; None when not training.
      images: any H and W that the strides allow; the network computes in their dtype.
      is_training: switches dropout and stochastic depth on.
      return_features: names of features to return too, or True for all: 'stem', 'block_0', ...,
        'stage_0', ..., 'neck'; see `feature_shapes`.
      example_ids: [N] integers; what is random for an example depends on `rng` and its id.

    Returns:
      The outputs (`logits` [N, num_classes], `pool` [N, channels], features on request), and the
      new state.

    Raises:
      InputError: the images are none that a network takes, a key is missing, or a folded network
        is to be trained.
    """
    if is_training:
      self._check_training(rng)
    return self._transformed().apply(
      params,
      state,
      rng,
      images,
      is_training=is_training,
      return_features=return_features,
      example_ids=example_ids,
    )

  def _check_training(self, rng: jax.Array | None) -> None:
    if self.variant.conventions.folded:
      raise InputError(
        f'is_training=True: {self.name} is folded, for inference; train the one it is made of'
      )
    if rng is None and (self.variant.drop_rate or self.variant.stochdepth_rate):
      raise InputError(
        'rng=None: with is_training=True a key is needed for dropout and stochastic depth'
      )

  def _training(self) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """As in training: only then are all statistics of batch normalization asked for."""
    return functools.partial(self._forward, is_training=True)

  def _image(self) -> Any:
    size = self.variant.train_size
    return jax.ShapeDtypeStruct((1, size, size, self.in_channels), jnp.float32)

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
  alpha: float | None = None,
  drop_rate: float | None = None,
  stochdepth_rate: float | None = None,
  se_ratio: float | None = None,
  skip_gain: float | None = None,
  fixup_rules: FixupRules | None = None,
  activation: str | None = None,
  width_factor: float = 1.0,
  rounding: Rounding | None = None,
  standardization_dtype: Literal['float32', 'bfloat16'] | None = None,
  folded: bool = False,
  execution: Execution = DEFAULT_EXECUTION,
) -> Model:
  """The network called `name`; where an option is None, as its row in the zoo has it.

  Args:
    name: one of `list_models()`.
    num_classes: outputs of the classifier; 0 for a headless network (`pool` only).
    in_channels: channels of the images.
    alpha: scale of the residual branches; the betas follow.
    drop_rate: dropout before the classifier.
    stochdepth_rate: of the last block.
    se_ratio: hidden units of Squeeze-Excite as a fraction of the channels; 0 for no Squeeze-Excite.
    skip_gain: initial value of the SkipInit gains.
    fixup_rules: 'zeros' or 'shrunken' for one of Fixup's rules for first weights alone.
    activation: key of `ACTIVATIONS`.
    width_factor: all widths are multiplied by it and rounded down.
    rounding: 'code' or 'paper', for widths that are no multiple of the group width: so NFNet-F4+
      has 525 M or the paper's 527 M parameters.
    standardization_dtype: what kernels are standardized in; the released code used bfloat16 where
      it computed in bfloat16.
    folded: the form that `nfnets.fold` makes, to load its weights into.
    execution: rematerialization and loops: time and memory, not results.

  Raises:
    InputError: there is no such network or activation, a number is out of its range, or the
      network's family has no such option.
  """
  row = find_variant(name)
  for argument, number, least in (('num_classes', num_classes, 0), ('in_channels', in_channels, 1)):
    if not isinstance(number, numbers.Integral) or number < least:
      raise InputError(f'{argument}={number!r} must be a whole number, {least} or more')
  options: dict[str, Any] = {
    'alpha': alpha,
    'drop_rate': drop_rate,
    'stochdepth_rate': stochdepth_rate,
    'se_ratio': se_ratio,
    'skip_gain': skip_gain,
    'fixup_rules': fixup_rules,
    'activation': activation,
    'rounding': rounding,
    'standardization_dtype': standardization_dtype,
  }
  given = {option: value for option, value in options.items() if value is not None}
  _check_options(name, row, given)
  check_number('width_factor', width_factor, above=0)
  variant = row if width_factor == 1 else widen(row, width_factor)
  shape: dict[str, Any] = {'num_classes': num_classes, 'in_channels': in_channels}
  if width_factor != 1:
    shape['width_factor'] = width_factor
  model = Model(
    name, _changed(variant, given), num_classes, in_channels, execution, options=shape | given
  )
  return as_folded(model) if folded else model


def as_folded(model: Model) -> Model:
  """The network in the form that `folding.fold` makes; only its parameters differ."""
  conventions = dataclasses.replace(model.variant.conventions, folded=True)
  return dataclasses.replace(
    model,
    variant=dataclasses.replace(model.variant, conventions=conventions),
    options={**model.options, 'folded': True},
  )


_ALWAYS = frozenset({'drop_rate', 'stochdepth_rate', 'activation'})
_OF_STANDARDIZED = frozenset({'standardization_dtype'})

_RANGES: dict[str, dict[str, float]] = {
  'alpha': {'above': 0},
  'drop_rate': {'at_least': 0, 'below': 1},
  'stochdepth_rate': {'at_least': 0, 'below': 1},
  'se_ratio': {'at_least': 0},
  'skip_gain': {},
}

_CHOICES = {
  'fixup_rules': dict.fromkeys(get_args(FixupRules)),
  'rounding': {'code': None, 'paper': None},
  'standardization_dtype': {'float32': None, 'bfloat16': None},
  'activation': ACTIVATIONS,
}


def _check_options(name: str, row: Variant, given: Mapping[str, Any]) -> None:
  family = FAMILIES[row.family]
  known = family.options | _ALWAYS | (_OF_STANDARDIZED if family.tracks_variance else frozenset())
  for option, value in given.items():
    if option not in known or (option == 'rounding' and row.rounding == 'eights'):
      right = ', '.join(sorted(known - {'rounding'} if row.rounding == 'eights' else known))
      raise InputError(f'{option}={value!r}: {name} has no such option; it has {right}')
    if option in _RANGES:
      check_number(option, value, **_RANGES[option])
    else:
      names.look_up(value, _CHOICES[option], argument=option)


def _changed(variant: Variant, given: Mapping[str, Any]) -> Variant:
  changes = dict(given)
  if 'se_ratio' in changes:
    changes |= {'se_ratio': changes['se_ratio'] or None, 'eca': False}
  if dtype := changes.pop('standardization_dtype', None):
    changes['conventions'] = dataclasses.replace(variant.conventions, standardization_dtype=dtype)
  return dataclasses.replace(variant, **changes)


def list_models(pattern: str = '*') -> list[str]:
  """Names of the networks that match a shell pattern, in the order of the papers' tables."""
  return [name for name in VARIANTS if fnmatch.fnmatch(name, pattern)]
