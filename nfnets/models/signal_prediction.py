"""Signal propagation derived: what `signals` measures, from the description of a network alone.

Brock et al. 2021, arXiv 2101.08692, section 3, for every stem and every block of the zoo.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import haiku as hk
import jax
import numpy as np

from nfnets.models import design, stems
from nfnets.models.blocks import BOTTLENECK, BatchNormBlock, FixupBlock, PreactBlock, PreactDesign
from nfnets.models.moments import FeatureMap, Weights, drawn, standardized
from nfnets.models.plan import Place
from nfnets.models.signals import Signals
from nfnets.models.variants import Variant
from nfnets.models.zoo import Model


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prediction(Signals):
  """The same curves from the analysis; NaN where it does not say."""

  stages: np.ndarray
  """[blocks] integers: the stage of each block, counted from 0."""
  assumed_variance: np.ndarray
  """[blocks] what the betas of a normalizer-free network count on for the variance of the blocks'
  outputs: the recursion of the papers.  NaN for the other networks."""


def predict_signals(model: Model, size: int | None = None) -> Prediction:
  """What `signal_propagation` measures at initialization for standard normal images.

  Averages over the weights of wide layers, over positions and over images.  Approximate in this:
  at a border activations are taken as homogeneous, the windows of a max-pool as disjoint, the gates
  of channel attention as one half, and the eps of weight standardization as 0.

  Args:
    model: a network of the zoo, with its own `skip_gain`.
    size: side of the square images, in pixels; by default so large that padding does not matter.

  Returns:
    The curves.  Of a network with post-activation only the branches and the first block of each
    stage are known, of Fixup with another activation than ReLU only the branches, of Fixup without
    its zeros nothing.
  """
  family, variant = model.family, model.variant
  places = list(family.places(variant))
  curves = np.full((3, len(places)), np.nan)
  stem, block = _bound(_STEMS, family.stem), _bound(_BLOCKS, family.block)
  if stem and block:
    profile = None if size is None else np.ones((size, size))
    x = stem(FeatureMap(squared_mean=0.0, variance=1.0, profile=profile), variant)
    for index, place in enumerate(places):
      x, branch = block(x, place, variant)
      curves[:, index] = x.squared_mean, x.variance, branch.variance
  squared_mean, variance, branch_variance = curves
  return Prediction(
    squared_mean=squared_mean,
    variance=variance,
    branch_variance=branch_variance,
    stages=np.array([place.stage for place in places]),
    assumed_variance=_assumed(model),
  )


def _assumed(model: Model) -> np.ndarray:
  """[blocks] the recursion behind the betas: what a block gives is what the next one takes."""
  *depths, last = model.variant.depths
  longer = dataclasses.replace(model.variant, depths=(*depths, last + 1))
  _, *following = model.family.places(longer)
  tracked = model.family.tracks_variance
  return np.array([place.variance if tracked else np.nan for place in following])


def _bound(rules: Mapping[Any, Callable[..., Any]], part: Any) -> Callable[..., Any] | None:
  """The rule for what a family plugs in, with the arguments that the family gives it."""
  if not isinstance(part, functools.partial):
    return rules.get(part)
  rule = rules.get(part.func)
  return rule and functools.partial(rule, *part.args, **part.keywords)


def _quad_stem(x: FeatureMap, variant: Variant) -> FeatureMap:
  x = x.convolved(standardized(variant), 3, 2)
  for stride in (1, 1, 2):
    x = x.activated(design.scaled_activation(variant)).convolved(standardized(variant), 3, stride)
  return x


def _standardized_stem(
  x: FeatureMap, variant: Variant, *, size: int, stride: int = 1, pooled: bool = False
) -> FeatureMap:
  x = x.convolved(standardized(variant), size, stride)
  return x.max_pooled(3, 2) if pooled else x


def _plain_stem(
  x: FeatureMap,
  variant: Variant,
  *,
  size: int,
  stride: int = 1,
  pooled: bool = False,
  w_init: hk.initializers.Initializer | None = None,
) -> FeatureMap:
  """Also what the first batch normalization undoes."""
  del variant
  x = x.convolved(drawn(w_init), size, stride)
  return x.max_pooled(3, 2) if pooled else x


def _fixup_stem(
  x: FeatureMap,
  variant: Variant,
  *,
  size: int,
  stride: int = 1,
  pooled: bool = False,
  w_init: hk.initializers.Initializer | None = None,
) -> FeatureMap:
  """ReLU and maximum may change places."""
  x = _plain_stem(x, variant, size=size, stride=stride, pooled=pooled, w_init=w_init)
  return x.activated(jax.nn.relu) if variant.activation == 'relu' else x.scaled(math.nan)


def _strided(kernels: Sequence[int], place: Place) -> Iterator[tuple[int, int]]:
  """(size, stride) of the convolutions of a branch: the first that is not 1x1 has the stride."""
  strided = next(i for i, kernel in enumerate(kernels) if kernel > 1)
  for i, kernel in enumerate(kernels):
    yield kernel, place.stride if i == strided else 1


def _preactivation(
  spec: PreactDesign, x: FeatureMap, place: Place, variant: Variant
) -> tuple[FeatureMap, FeatureMap]:
  """`(shortcut + alpha * gain * f(act(x) * beta)) / divisor`."""
  weights, activation = drawn(spec.w_init), design.plain_activation(variant)
  if spec.standardized:
    weights, activation = standardized(variant), design.scaled_activation(variant)
  normalized = y = x.activated(activation).scaled(place.beta)
  for index, (kernel, stride) in enumerate(_strided(spec.kernels, place)):
    y = y.activated(activation) if index else y
    y = y.convolved(weights, kernel, stride)
  gain = variant.skip_gain if spec.gained else 1.0
  shortcut = x
  if place.needs_projection and spec.pooled_shortcut:
    shortcut = normalized.average_pooled(place.stride).convolved(weights)
  elif place.needs_projection:
    shortcut = normalized.convolved(weights, 1, place.stride)
  merged = shortcut.plus(y.scaled(variant.alpha * gain)).scaled(1 / spec.divisor)
  return merged, y.scaled(gain) if variant.conventions.gain_in_kernel else y


def _batchnorm(
  x: FeatureMap,
  place: Place,
  variant: Variant,
  *,
  preactivation: bool,
  kernels: tuple[int, ...] = BOTTLENECK,
  w_init: hk.initializers.Initializer | None = None,
) -> tuple[FeatureMap, FeatureMap]:
  """`shortcut + f(act(norm(x)))`, or `act(shortcut + norm(f(x)))` where not `preactivation`.

  The first way every convolution, also that of the shortcut, sees `act(norm(...))`.  The second way
  what is summed is normally distributed behind a projection, and later no more.
  """
  activation, weights = design.plain_activation(variant), drawn(w_init)
  gate = 1.0 if variant.se_ratio is None and not variant.eca else 0.5
  shortcut = y = x
  for index, (kernel, stride) in enumerate(_strided(kernels, place)):
    if preactivation:
      y = y.normalized().activated(activation).convolved(weights, kernel, stride)
    else:
      y = y.activated(activation) if index else y
      y = y.convolved(weights, kernel, stride).normalized()
  branch = y.scaled(gate)
  if place.starts_stage and preactivation:
    shortcut = x.normalized().activated(activation).convolved(weights, 1, place.stride)
  elif place.starts_stage:
    shortcut = x.convolved(weights, 1, place.stride).normalized()
  merged = shortcut.plus(branch)
  if preactivation:
    return merged, branch
  return merged.activated(activation).scaled(1.0 if place.starts_stage else math.nan), branch


def _fixup(
  x: FeatureMap, place: Place, variant: Variant, *, kernels: tuple[int, ...] = BOTTLENECK
) -> tuple[FeatureMap, FeatureMap]:
  """The branch is 0, a ReLU behind another does nothing; weights of variance 2 / fan-out."""
  del kernels
  if variant.fixup_rules == 'shrunken':
    return x.scaled(math.nan), x.scaled(math.nan)
  if place.needs_projection:
    he = Weights(factor=2 * place.in_channels / place.out_channels)
    x = x.convolved(he, 1, place.stride).activated(design.plain_activation(variant))
  return x, x.scaled(0.0)


_STEMS = {
  stems.quad: _quad_stem,
  stems.standardized: _standardized_stem,
  stems.plain: _plain_stem,
  stems.batchnorm: _plain_stem,
  stems.fixup: _fixup_stem,
}
_BLOCKS = {PreactBlock: _preactivation, BatchNormBlock: _batchnorm, FixupBlock: _fixup}
