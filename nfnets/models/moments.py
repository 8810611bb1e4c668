"""The moments of a feature map behind layers whose weights are random.

They are followed in the limit of wide layers and many images, with the positions of a map taken as
independent, and with the padding.
"""

import dataclasses
import math
import statistics

import haiku as hk
import jax.numpy as jnp
import numpy as np

from nfnets.models.activations import find_activation
from nfnets.models.design import Activation
from nfnets.models.initializers import Normal
from nfnets.models.variants import Variant


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
  """How the weights of a convolution are drawn: independently, but for their sum."""

  factor: float
  """Their variance, times the fan-in."""
  zero_sum: bool = False
  """Whether those of one output channel have sum 0."""
  symmetric_padding: bool = False


def drawn(w_init: hk.initializers.Initializer | None) -> Weights:
  """The weights of `Conv2D`.

  Standard normal numbers cut at -c and c: with density f and probability p inside, integration of
  x^2 f(x) by parts gives the variance 1 - 2 c f(c) / p, which is 0.774 for c = 2.
  """
  first = Normal(truncated=True) if w_init is None else w_init
  if not isinstance(first, Normal) or first.stddev is not None:
    return Weights(factor=math.nan)
  if not first.truncated:
    return Weights(factor=first.gain**2)
  normal = statistics.NormalDist()
  cut = normal.inv_cdf((1 + first.limit) / 2)
  return Weights(factor=first.gain**2 * (1 - 2 * cut * normal.pdf(cut) / first.limit))


def standardized(variant: Variant) -> Weights:
  """The weights of `WSConv2D`."""
  gamma = find_activation(variant.activation).gamma
  return Weights(
    factor=gamma**2 if variant.conventions.gamma_in_kernel else 1.0,
    zero_sum=True,
    symmetric_padding=variant.conventions.symmetric_padding,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Values:
  """A distribution of mean 0 and variance 1: points and their probabilities."""

  points: np.ndarray
  weights: np.ndarray


def _normal(count: int) -> Values:
  points = np.linspace(-8, 8, count)
  weights = np.exp(-(points**2) / 2)
  return Values(points, weights / weights.sum())


_NORMAL, _NORMAL_COARSE = _normal(501), _normal(101)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FeatureMap:
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
  values: Values = _NORMAL
  """Of a channel, less its mean and divided by its standard deviation."""
  profile: np.ndarray | None = None
  """[H, W] the mean square at each position, divided by the average; None for no border."""

  def activated(self, function: Activation) -> 'FeatureMap':
    """Moments of `function`, by quadrature."""
    spread = math.sqrt(max(self.squared_mean - self.mean**2, 0.0))
    means = self.mean + spread * _NORMAL_COARSE.points
    x = means[:, None] + math.sqrt(self.variance) * self.values.points
    y = np.asarray(function(jnp.asarray(x, jnp.float32)), np.float64)
    means, squares = y @ self.values.weights, y**2 @ self.values.weights
    mean, squared_mean, square = _NORMAL_COARSE.weights @ np.stack([means, means**2, squares], 1)
    return FeatureMap(
      squared_mean=float(squared_mean),
      variance=float(square - squared_mean),
      mean=float(mean),
      profile=self.profile,
    )

  def convolved(self, weights: Weights, kernel: int = 1, stride: int = 1) -> 'FeatureMap':
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
    return FeatureMap(
      squared_mean=weights.factor * float(squared_mean),
      variance=weights.factor * float(np.mean(squares) - squared_mean),
      profile=None if self.profile is None else squares / np.mean(squares),
    )

  def average_pooled(self, stride: int) -> 'FeatureMap':
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

  def max_pooled(self, window: int, stride: int) -> 'FeatureMap':
    """Maxima of independent, normally distributed values around 0."""
    below = _NORMAL.weights.cumsum() - _NORMAL.weights / 2
    weights = _NORMAL.weights * below ** (window**2 - 1)
    weights /= weights.sum()
    mean = weights @ _NORMAL.points
    points = _NORMAL.points - mean
    deviation = math.sqrt(weights @ points**2)
    return FeatureMap(
      squared_mean=mean**2 * self.variance,
      variance=deviation**2 * self.variance,
      mean=mean * math.sqrt(self.variance),
      profile=None if self.profile is None else self.profile[::stride, ::stride],
      values=Values(points / deviation, weights),
    )

  @property
  def square(self) -> float:
    """The mean square of the values."""
    return self.squared_mean + self.variance

  def normalized(self) -> 'FeatureMap':
    """Behind batch normalization."""
    return dataclasses.replace(self, squared_mean=0.0, variance=1.0, mean=0.0)

  def scaled(self, factor: float) -> 'FeatureMap':
    """Times a number."""
    return dataclasses.replace(
      self,
      squared_mean=factor**2 * self.squared_mean,
      variance=factor**2 * self.variance,
      mean=factor * self.mean,
    )

  def plus(self, other: 'FeatureMap') -> 'FeatureMap':
    """Added to what comes from other weights, around 0."""
    profile, square = self.profile, self.square + other.square
    if profile is not None and other.profile is not None and square > 0:
      profile = (self.square * profile + other.square * other.profile) / square
    return FeatureMap(
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
