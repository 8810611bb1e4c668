"""The layers of normalizer-free networks: scaled weight standardization, Squeeze-Excite, dropping.

Parameters are float32; every layer computes in the dtype of its input.  Weights are standardized in
float32 unless the parameters themselves are handed over in another dtype.
"""

import dataclasses
import functools
from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from nfnets.models.convolution import convolve
from nfnets.models.initializers import Constant, Normal

_STANDARDIZATION_EPS = 1e-4
_OUTPUT_GAIN_OF_SE = 2.0  # a sigmoid is about one half at initialization


@dataclasses.dataclass(frozen=True)
class Mode:
  """What one forward pass is for, handed to every layer."""

  is_training: bool
  example_ids: jax.Array
  """[N] int32: numbers the examples, so that what is drawn for an example does not depend on how
  the batch is cut over devices, hosts and micro-batches."""

  def uniform(self, *shape: int) -> jax.Array:
    """[N, *shape] float32 numbers in [0, 1); row i is a function of the call's key and id i."""
    key = hk.next_rng_key()
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(self.example_ids)
    return jax.vmap(lambda k: jax.random.uniform(k, shape))(keys)


Layer = Callable[[jax.Array, Mode], jax.Array]
"""What a network is made of: [N, H, W, C] -> [N, h, w, c]."""


def standardize(
  kernel: jax.Array, gain: jax.Array, *, eps: float = _STANDARDIZATION_EPS
) -> jax.Array:
  """Scaled weight standardization of `kernel` [..., in, out] (arXiv 2101.08692, section 4).

  Every output unit gets mean 0 and variance `gain**2 / fan_in` over its inputs.  The variance is
  that of the population and is bounded below, times the fan-in, by `eps`.
  """
  fan_in = np.prod(kernel.shape[:-1])
  axes = tuple(range(kernel.ndim - 1))
  mean = jnp.mean(kernel, axes, keepdims=True)
  variance = jnp.var(kernel, axes, keepdims=True)
  return (kernel - mean) * (jax.lax.rsqrt(jnp.maximum(variance * fan_in, eps)) * gain)


class WSConv2D(hk.Module):
  """A 2-D convolution with scaled weight standardization, learnable gain and bias, 'SAME' padding.

  From "Characterizing signal propagation to close the performance gap in unnormalized ResNets"
  (Brock et al. 2021, arXiv 2101.08692, section 4).  With a variance-preserving activation in front
  it keeps the variance of its input.
  """

  def __init__(
    self,
    output_channels: int,
    kernel_shape: int,
    *,
    stride: int = 1,
    groups: int = 1,
    name: str | None = None,
  ):
    super().__init__(name=name)
    self.output_channels = output_channels
    self.kernel_shape = kernel_shape
    self.stride = stride
    self.groups = groups

  def __call__(self, x: jax.Array) -> jax.Array:
    """[N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), output_channels]."""
    size, out = self.kernel_shape, self.output_channels
    kernel = hk.get_parameter(
      'w',
      (size, size, x.shape[-1] // self.groups, out),
      init=Normal(),
    )
    gain = hk.get_parameter('gain', (out,), init=Constant(1.0))
    bias = hk.get_parameter('bias', (out,), init=Constant(0.0))
    kernel = standardize(kernel, gain).astype(x.dtype)
    y = convolve(x, kernel, stride=self.stride, groups=self.groups)
    return y + bias.astype(x.dtype)


class Conv2D(hk.Module):
  """A plain 2-D convolution, 'SAME' padding, with float32 parameters; for the baselines."""

  def __init__(
    self,
    output_channels: int,
    kernel_shape: int,
    *,
    stride: int = 1,
    with_bias: bool = True,
    w_init: hk.initializers.Initializer | None = None,
    name: str | None = None,
  ):
    super().__init__(name=name)
    self.output_channels = output_channels
    self.kernel_shape = kernel_shape
    self.stride = stride
    self.with_bias = with_bias
    self.w_init = w_init or Normal(truncated=True)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), output_channels]."""
    shape = (self.kernel_shape, self.kernel_shape, x.shape[-1], self.output_channels)
    kernel = hk.get_parameter('w', shape, init=self.w_init)
    y = convolve(x, kernel.astype(x.dtype), stride=self.stride)
    if not self.with_bias:
      return y
    bias = hk.get_parameter('b', (self.output_channels,), init=Constant(0.0))
    return y + bias.astype(x.dtype)


class Linear(hk.Module):
  """A fully connected layer with float32 parameters that computes in the dtype of its input."""

  def __init__(
    self,
    output_size: int,
    *,
    w_init: hk.initializers.Initializer | None = None,
    name: str = 'linear',
  ):
    super().__init__(name=name)
    self.output_size = output_size
    self.w_init = w_init or Normal(truncated=True)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[N, in] -> [N, output_size]."""
    w = hk.get_parameter('w', (x.shape[-1], self.output_size), init=self.w_init)
    b = hk.get_parameter('b', (self.output_size,), init=Constant(0.0))
    return x @ w.astype(x.dtype) + b.astype(x.dtype)


class SqueezeExcite(hk.Module):
  """Scales each channel by a gate computed from the spatial mean (Hu et al. 2018, 1709.01507).

  Normalizer-free networks double the gate (arXiv 2102.06171, appendix C).  The hidden layer is a
  plain ReLU, without gamma, as in the released code.
  """

  def __init__(
    self,
    channels: int,
    ratio: float,
    *,
    gain: float = _OUTPUT_GAIN_OF_SE,
    name: str = 'squeeze_excite',
  ):
    super().__init__(name=name)
    self.gain = gain
    self.squeeze = Linear(max(1, int(channels * ratio)), name='linear')
    self.excite = Linear(channels, name='linear_1')

  def __call__(self, x: jax.Array) -> jax.Array:
    """[N, H, W, C] -> [N, H, W, C]."""
    pooled = jnp.mean(x, axis=(1, 2))
    gate = jax.nn.sigmoid(self.excite(jax.nn.relu(self.squeeze(pooled))))
    return x * (self.gain * gate[:, None, None, :])


def scalar(name: str, like: jax.Array, *, first: float = 0.0) -> jax.Array:
  """A parameter of one number, of the module whose method calls this, in the dtype of `like`."""
  return hk.get_parameter(name, (), init=Constant(first)).astype(like.dtype)


def average_pool(x: jax.Array, stride: int) -> jax.Array:
  """Means over `stride` x `stride` windows, 'SAME': at the border over the valid cells only.

  [N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), C].
  """
  if stride == 1:
    return x
  window = (1, stride, stride, 1)
  return hk.avg_pool(x, window, window, 'SAME')


def max_pool(x: jax.Array, window: int, stride: int) -> jax.Array:
  """Maxima over `window` x `window`, 'SAME'.

  [N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), C].
  """
  return hk.max_pool(x, (1, window, window, 1), (1, stride, stride, 1), 'SAME')


def stochastic_depth(x: jax.Array, rate: float, mode: Mode) -> jax.Array:
  """Zeroes whole examples of `x` [N, H, W, C] with probability `rate` while training.

  What stays is not rescaled, as in the released code (Huang et al. 2016, arXiv 1603.09382).
  """
  if not mode.is_training or rate == 0:
    return x
  keep = mode.uniform() >= rate
  return x * keep[:, None, None, None].astype(x.dtype)


def dropout(x: jax.Array, rate: float, mode: Mode) -> jax.Array:
  """Zeroes elements of `x` [N, C] with probability `rate` while training, and rescales the rest."""
  if not mode.is_training or rate == 0:
    return x
  keep = mode.uniform(x.shape[-1]) >= rate
  return jnp.where(keep, x / (1 - rate), 0).astype(x.dtype)
