"""Signal propagation plots: what a network does to the size of its signal, block by block.

Brock et al. 2021, arXiv 2101.08692, section 3.  `signal_propagation` measures the three curves,
`predict_signals` derives them for a network at initialization.
"""

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from nfnets.errors import InputError
from nfnets.models import design, stems
from nfnets.models.activations import find_activation
from nfnets.models.blocks import BOTTLENECK, BatchNormBlock, FixupBlock, PreactBlock, PreactDesign
from nfnets.models.design import Activation
from nfnets.models.initializers import Normal
from nfnets.models.plan import Place
from nfnets.models.taps import collect
from nfnets.models.variants import Variant
from nfnets.models.zoo import Model, State

Forward = Callable[[Any, jax.Array], Any]
"""Somebody's own network: (params, images) -> anything."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Signals:
  """The three curves, [blocks] each: statistics over N, H and W, then the mean over channels."""

  squared_mean: np.ndarray
  """Average channel squared mean of the blocks' outputs."""
  variance: np.ndarray
  """Average channel variance of the blocks' outputs."""
  branch_variance: np.ndarray
  """Average channel variance at the end of the residual branches, before they are scaled and added
  to the shortcut."""

  @property
  def names(self) -> tuple[str, ...]:
    """Of the blocks, as `return_features` has them: 'block_0', ..."""
    return tuple(f'block_{index}' for index in range(len(self.variance)))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prediction(Signals):
  """The same curves from the analysis; NaN where it does not say."""

  stages: np.ndarray
  """[blocks] integers: the stage of each block, counted from 0."""
  assumed_variance: np.ndarray
  """[blocks] what the betas of a normalizer-free network count on for the variance of the blocks'
  outputs: the recursion of the papers.  NaN for the other networks."""


def signal_propagation(
  model: Model | Forward, params: Any, images: jax.Array, *, state: State | None = None
) -> Signals:
  """Measures the curves of a signal propagation plot.

  Batch normalization uses the statistics of `images`; dropout and stochastic depth are off.  The
  statistics are computed in float32 where they are tapped: no feature map is kept.

  Args:
    model: a network of the zoo; or any function (params, images) -> anything whose residual blocks
      call `nfnets.tap('branch', y)` at the end of the branch and `nfnets.tap('block', x)` on their
      output, both [..., channels].  It is compiled once for as long as it is the same object.
    params: of the network, at initialization or later.
    images: [N, H, W, C], normalized.  For the plots of the paper: standard normal numbers.
    state: of a network of the zoo; by default that of a fresh one.  The curves do not depend on it.

  Raises:
    InputError: the function taps nothing, not one branch for each block, or where it cannot be
      seen; or the images are none that the network takes.
  """
  if isinstance(model, Model):
    variant = dataclasses.replace(model.variant, drop_rate=0.0, stochdepth_rate=0.0)
    model = dataclasses.replace(model, variant=variant)
    if state is None:
      _, shapes = jax.eval_shape(model.init, jax.random.key(0))
      state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  elif not callable(model):
    raise InputError(f'model={model!r} is neither a Model nor a function of (params, images)')
  elif state is not None:
    raise InputError('state: a function of (params, images) takes none; bind it to the function')
  try:
    tapped = jax.device_get(_measure(model, params, state, images))
  except jax.errors.UnexpectedTracerError as error:
    raise InputError(
      'the function taps inside of lax.scan, jax.checkpoint, jax.vmap or the like, where values '
      'cannot be seen: leave those out while nfnets.models.taps.is_collecting()'
    ) from error
  blocks, branches = tapped.get('block', []), tapped.get('branch', [])
  if not blocks or len(blocks) != len(branches):
    raise InputError(
      f"the function called tap('block', x) {len(blocks)} times and tap('branch', y) "
      f'{len(branches)} times: every residual block calls each once'
    )
  return Signals(
    squared_mean=np.array([squared_mean for squared_mean, _ in blocks]),
    variance=np.array([variance for _, variance in blocks]),
    branch_variance=np.array([variance for _, variance in branches]),
  )


@functools.partial(jax.jit, static_argnums=0)
def _measure(
  model: Model | Forward, params: Any, state: State | None, images: jax.Array
) -> dict[str, list[tuple[jax.Array, jax.Array]]]:
  """Name -> (squared mean, variance) of everything tapped."""
  if isinstance(model, Model):
    forward = functools.partial(model.apply, params, state or {}, None, images, is_training=True)
  else:
    forward = functools.partial(model, params, images)
  _, tapped = collect(forward, _statistics)()
  return tapped


def _statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Average channel squared mean and average channel variance of `x` [..., channels]."""
  x = x.astype(jnp.float32)
  others = tuple(range(x.ndim - 1))
  return jnp.mean(jnp.square(jnp.mean(x, others))), jnp.mean(jnp.var(x, others))


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
    stage are known, of Fixup with another activation than ReLU only the branches.
  """
  family, variant = model.family, model.variant
  places = list(family.places(variant))
  curves = np.full((3, len(places)), np.nan)
  stem, block = _bound(_STEMS, family.stem), _bound(_BLOCKS, family.block)
  if stem and block:
    profile = None if size is None else np.ones((size, size))
    x = stem(_Map(squared_mean=0.0, variance=1.0, profile=profile), variant)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Weights:
  """How the weights of a convolution are drawn: independently, but for their sum."""

  factor: float
  """Their variance, times the fan-in."""
  zero_sum: bool = False
  """Whether those of one output channel have sum 0."""
  symmetric_padding: bool = False


def _drawn(w_init: hk.initializers.Initializer | None) -> _Weights:
  """Those of `Conv2D`.

  Standard normal numbers cut at -c and c: with density f and probability p inside, integration of
  x^2 f(x) by parts gives the variance 1 - 2 c f(c) / p, which is 0.774 for c = 2.
  """
  first = Normal(truncated=True) if w_init is None else w_init
  if not isinstance(first, Normal) or first.stddev is not None:
    return _Weights(factor=math.nan)
  if not first.truncated:
    return _Weights(factor=first.gain**2)
  normal = statistics.NormalDist()
  cut = normal.inv_cdf((1 + first.limit) / 2)
  return _Weights(factor=first.gain**2 * (1 - 2 * cut * normal.pdf(cut) / first.limit))


def _standardized(variant: Variant) -> _Weights:
  """Those of `WSConv2D`."""
  gamma = find_activation(variant.activation).gamma
  return _Weights(
    factor=gamma**2 if variant.conventions.gamma_in_kernel else 1.0,
    zero_sum=True,
    symmetric_padding=variant.conventions.symmetric_padding,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _Values:
  """A distribution of mean 0 and variance 1: points and their probabilities."""

  points: np.ndarray
  weights: np.ndarray


def _normal(count: int) -> _Values:
  points = np.linspace(-8, 8, count)
  weights = np.exp(-(points**2) / 2)
  return _Values(points, weights / weights.sum())


_NORMAL, _NORMAL_COARSE = _normal(501), _normal(101)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Map:
  """A feature map of a wide random network, averaged over weights, positions and images.

  Every channel has a mean of its own; the means are distributed normally.  Around it, the values of
  all channels have one distribution, and those of different positions are independent.
  """

  squared_mean: float
  """Mean over channels of the squared channel mean."""
  variance: float
  """Mean over channels of the channel variance."""
  mean: float = 0.0
  """Mean over channels of the channel mean."""
  values: _Values = _NORMAL
  """Of a channel, less its mean and divided by its standard deviation."""
  profile: np.ndarray | None = None
  """[H, W] the mean square at each position, divided by the average; None for no border."""

  def activated(self, function: Activation) -> '_Map':
    """Moments of `function`, by quadrature."""
    spread = math.sqrt(max(self.squared_mean - self.mean**2, 0.0))
    means = self.mean + spread * _NORMAL_COARSE.points
    x = means[:, None] + math.sqrt(self.variance) * self.values.points
    y = np.asarray(function(jnp.asarray(x, jnp.float32)), np.float64)
    means, squares = y @ self.values.weights, y**2 @ self.values.weights
    mean, squared_mean, square = _NORMAL_COARSE.weights @ np.stack([means, means**2, squares], 1)
    return _Map(
      squared_mean=float(squared_mean),
      variance=float(square - squared_mean),
      mean=float(mean),
      profile=self.profile,
    )

  def convolved(self, weights: _Weights, kernel: int = 1, stride: int = 1) -> '_Map':
    """Behind a convolution with 'SAME' padding.

    Its mean square is that of the input, averaged over the taps, with zeros from the padding.
    Weights of sum 0 cancel what the means of the input's channels have in common, as much of it as
    the taps see on average.  The mean of a channel over the positions is made of what each tap sees
    over the positions.  At a border, means are smaller as the root of the mean square is.
    """
    taps = _taps(self.profile, kernel, stride, symmetric=weights.symmetric_padding)
    profile = np.ones((1, 1)) if self.profile is None else self.profile
    common = self.mean**2 if weights.zero_sum else 0.0
    seen = _on_both_axes(taps.mean(0), np.sqrt(profile))
    squares = _on_both_axes(taps.mean(0), profile) * self.square - seen**2 * common
    seen_by_tap = _on_both_axes(taps.mean(1), np.sqrt(profile))
    squared_mean = np.mean(seen_by_tap**2) * self.squared_mean - np.mean(seen_by_tap) ** 2 * common
    return _Map(
      squared_mean=weights.factor * float(squared_mean),
      variance=weights.factor * float(np.mean(squares) - squared_mean),
      profile=None if self.profile is None else squares / np.mean(squares),
    )

  def average_pooled(self, stride: int) -> '_Map':
    """Means of independent values: over the valid cells only."""
    if self.profile is None:
      return dataclasses.replace(self, variance=self.variance / stride**2, values=_NORMAL)
    seen = _taps(self.profile, stride, stride).sum(0)
    profile = _on_both_axes((seen / seen.sum(1, keepdims=True)) ** 2, self.profile)
    return dataclasses.replace(
      self,
      variance=self.variance * float(np.mean(profile)),
      values=_NORMAL,
      profile=profile / np.mean(profile),
    )

  def max_pooled(self, window: int, stride: int) -> '_Map':
    """Maxima of independent, normally distributed values around 0."""
    below = _NORMAL.weights.cumsum() - _NORMAL.weights / 2
    weights = _NORMAL.weights * below ** (window**2 - 1)
    weights /= weights.sum()
    mean = weights @ _NORMAL.points
    points = _NORMAL.points - mean
    deviation = math.sqrt(weights @ points**2)
    return _Map(
      squared_mean=mean**2 * self.variance,
      variance=deviation**2 * self.variance,
      mean=mean * math.sqrt(self.variance),
      profile=None if self.profile is None else self.profile[::stride, ::stride],
      values=_Values(points / deviation, weights),
    )

  @property
  def square(self) -> float:
    """The mean square of the values."""
    return self.squared_mean + self.variance

  def normalized(self) -> '_Map':
    """Behind batch normalization."""
    return dataclasses.replace(self, squared_mean=0.0, variance=1.0, mean=0.0)

  def scaled(self, factor: float) -> '_Map':
    """Times a number."""
    return dataclasses.replace(
      self,
      squared_mean=factor**2 * self.squared_mean,
      variance=factor**2 * self.variance,
      mean=factor * self.mean,
    )

  def plus(self, other: '_Map') -> '_Map':
    """Added to what comes from other weights, around 0."""
    profile, square = self.profile, self.square + other.square
    if profile is not None and other.profile is not None and square > 0:
      profile = (self.square * profile + other.square * other.profile) / square
    return _Map(
      squared_mean=self.squared_mean + other.squared_mean,
      variance=self.variance + other.variance,
      profile=profile,
    )


def _taps(
  profile: np.ndarray | None, kernel: int, stride: int, *, symmetric: bool = False
) -> np.ndarray:
  """[taps, positions behind, positions before] along one axis: 1.0 where the tap sees the map."""
  if profile is None:
    return np.ones((kernel, 1, 1))
  size = len(profile)
  positions = -(-size // stride)
  before = max((positions - 1) * stride + kernel - size, 0) // 2
  first = np.arange(positions) * stride - (kernel // 2 if symmetric else before)
  seen = first[None, :, None] + np.arange(kernel)[:, None, None]
  return (seen == np.arange(size)).astype(float)


def _on_both_axes(line: np.ndarray, plane: np.ndarray) -> np.ndarray:
  return line @ plane @ line.T


def _quad_stem(x: _Map, variant: Variant) -> _Map:
  x = x.convolved(_standardized(variant), 3, 2)
  for stride in (1, 1, 2):
    x = x.activated(design.scaled_activation(variant)).convolved(_standardized(variant), 3, stride)
  return x


def _standardized_stem(
  x: _Map, variant: Variant, *, size: int, stride: int = 1, pooled: bool = False
) -> _Map:
  x = x.convolved(_standardized(variant), size, stride)
  return x.max_pooled(3, 2) if pooled else x


def _plain_stem(
  x: _Map,
  variant: Variant,
  *,
  size: int,
  stride: int = 1,
  pooled: bool = False,
  w_init: hk.initializers.Initializer | None = None,
) -> _Map:
  """Also what the first batch normalization undoes."""
  del variant
  x = x.convolved(_drawn(w_init), size, stride)
  return x.max_pooled(3, 2) if pooled else x


def _fixup_stem(
  x: _Map,
  variant: Variant,
  *,
  size: int,
  stride: int = 1,
  pooled: bool = False,
  w_init: hk.initializers.Initializer | None = None,
) -> _Map:
  """ReLU and maximum may change places."""
  x = _plain_stem(x, variant, size=size, stride=stride, pooled=pooled, w_init=w_init)
  return x.activated(jax.nn.relu) if variant.activation == 'relu' else x.scaled(math.nan)


def _strided(kernels: Sequence[int], place: Place) -> Iterator[tuple[int, int]]:
  """(size, stride) of the convolutions of a branch: the first that is not 1x1 has the stride."""
  strided = next(i for i, kernel in enumerate(kernels) if kernel > 1)
  for i, kernel in enumerate(kernels):
    yield kernel, place.stride if i == strided else 1


def _preactivation(
  spec: PreactDesign, x: _Map, place: Place, variant: Variant
) -> tuple[_Map, _Map]:
  """`(shortcut + alpha * gain * f(act(x) * beta)) / divisor`."""
  weights, activation = _drawn(spec.w_init), design.plain_activation(variant)
  if spec.standardized:
    weights, activation = _standardized(variant), design.scaled_activation(variant)
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
  x: _Map,
  place: Place,
  variant: Variant,
  *,
  preactivation: bool,
  kernels: tuple[int, ...] = BOTTLENECK,
  w_init: hk.initializers.Initializer | None = None,
) -> tuple[_Map, _Map]:
  """`shortcut + f(act(norm(x)))`, or `act(shortcut + norm(f(x)))` where not `preactivation`.

  The first way every convolution, also that of the shortcut, sees `act(norm(...))`.  The second way
  what is summed is normally distributed behind a projection, and later no more.
  """
  activation, weights = design.plain_activation(variant), _drawn(w_init)
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
  x: _Map, place: Place, variant: Variant, *, kernels: tuple[int, ...] = BOTTLENECK
) -> tuple[_Map, _Map]:
  """The branch is 0, a ReLU behind another does nothing; weights of variance 2 / fan-out."""
  del kernels
  if place.needs_projection:
    he = _Weights(factor=2 * place.in_channels / place.out_channels)
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
