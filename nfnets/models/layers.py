"""The layers of the networks: convolutions, the classifier, pooling, dropping.

Parameters are float32; every layer computes in the dtype of its input.  Weights are standardized in
float32 unless the parameters themselves are handed over in another dtype.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from nfnets.errors import InputError
from nfnets.models.activated_convolution import convolve_activated
from nfnets.models.convolution import convolve
from nfnets.models.initializers import Constant, Normal
from nfnets.models.stacking import unstack
from nfnets.models.standardization import SCALED, Standardization


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

  def kept(self, drop_rates: Sequence[float]) -> list[jax.Array | None]:
    """For each branch [N] bool: the examples that stochastic depth keeps it for; None for all.

    Drawn at once for all branches: one by one, a deep network would draw hundreds of times.
    """
    if not self.is_training or not any(drop_rates):
      return [None] * len(drop_rates)
    kept = self.uniform(len(drop_rates)) >= np.array(drop_rates, np.float32)
    return [x if rate else None for x, rate in zip(unstack(kept.T), drop_rates, strict=True)]


Layer = Callable[[jax.Array, Mode], jax.Array]
"""What a network is made of: [N, H, W, C] -> [N, h, w, c]."""


@dataclasses.dataclass(frozen=True)
class Terms:
  """What may differ, in the equation of a residual block, between blocks of equal shape."""

  beta: jax.Array | np.float32
  """What the block's input is multiplied by."""
  kept: jax.Array | None = None
  """[N] bool: for which examples stochastic depth keeps the branch; None for all."""


jax.tree_util.register_dataclass(Terms, data_fields=['beta', 'kept'], meta_fields=[])


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
    first_gain: float = 1.0,
    standardization: Standardization | None = SCALED,
    symmetric_padding: bool = False,
    name: str | None = None,
  ):
    """The padding is 'SAME', or that of PyTorch's `padding=kernel_shape // 2` if symmetric.

    Without `standardization` the kernel is taken as it is, and there is no gain.
    """
    super().__init__(name=name)
    self.output_channels = output_channels
    self.kernel_shape = kernel_shape
    self.stride = stride
    self.groups = groups
    self.first_gain = first_gain
    self.standardization = standardization
    self.symmetric_padding = symmetric_padding

  def __call__(self, x: jax.Array) -> jax.Array:
    """[N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), output_channels].

    Raises:
      InputError: the number of groups does not divide both numbers of channels.
    """
    y, bias = self.apart(x)
    return y + bias

  def apart(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same without its bias, and the bias [output_channels], for who adds it later."""
    kernel, bias = self.weights(x.shape[-1], x.dtype)
    y = convolve(
      x, kernel, stride=self.stride, groups=self.groups, symmetric_padding=self.symmetric_padding
    )
    return y, bias

  def activated(self, x: jax.Array, activation: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """`activation` of the result, elementwise."""
    kernel, bias = self.weights(x.shape[-1], x.dtype)
    return convolve_activated(
      x,
      kernel,
      bias,
      activation,
      stride=self.stride,
      groups=self.groups,
      symmetric_padding=self.symmetric_padding,
    )

  def weights(self, channels: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """What it convolves `channels` with: kernel [h, w, channels / groups, out] and bias [out].

    Raises:
      InputError: the number of groups does not divide both numbers of channels.
    """
    size, out = self.kernel_shape, self.output_channels
    if channels % self.groups or out % self.groups:
      raise InputError(
        f'groups={self.groups} must divide the {channels} input and {out} output channels'
      )
    kernel = hk.get_parameter('w', (size, size, channels // self.groups, out), init=Normal())
    if self.standardization is not None:
      gain = hk.get_parameter('gain', (out,), init=Constant(self.first_gain))
      if not hk.running_init():  # where shapes alone matter; this takes a third of tracing
        kernel = self.standardization(kernel, gain)
    bias = hk.get_parameter('bias', (out,), init=Constant(0.0))
    return kernel.astype(dtype), bias.astype(dtype)


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
    y, bias = self.apart(x)
    return y + bias if self.with_bias else y

  def apart(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same without its bias, and the bias [output_channels]; 0 if it has none."""
    kernel, bias = self._weights(x.shape[-1], x.dtype)
    return convolve(x, kernel, stride=self.stride), bias

  def activated(self, x: jax.Array, activation: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """`activation` of the result, elementwise."""
    kernel, bias = self._weights(x.shape[-1], x.dtype)
    bias = jnp.broadcast_to(bias, (self.output_channels,))
    return convolve_activated(x, kernel, bias, activation, stride=self.stride)

  def _weights(self, channels: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
    shape = (self.kernel_shape, self.kernel_shape, channels, self.output_channels)
    kernel = hk.get_parameter('w', shape, init=self.w_init).astype(dtype)
    if not self.with_bias:
      return kernel, jnp.zeros((), dtype)
    bias = hk.get_parameter('b', (self.output_channels,), init=Constant(0.0))
    return kernel, bias.astype(dtype)


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


def max_pool(
  x: jax.Array, window: int, stride: int, *, symmetric_padding: bool = False
) -> jax.Array:
  """Maxima over `window` x `window`; padded 'SAME', or by `window // 2` on all sides.

  [N, H, W, C] -> [N, ceil(H / stride), ceil(W / stride), C].
  """
  sides = (window // 2, window // 2)
  return jax.lax.reduce_window(
    x,
    -jnp.inf,
    jax.lax.max,
    window_dimensions=(1, window, window, 1),
    window_strides=(1, stride, stride, 1),
    padding=((0, 0), sides, sides, (0, 0)) if symmetric_padding else 'SAME',
  )


def stochastic_depth(x: jax.Array, kept: jax.Array | None) -> jax.Array:
  """Zeroes the examples of `x` [N, H, W, C] that are not `kept` [N]; None keeps all.

  What stays is not rescaled, as in the released code (Huang et al. 2016, arXiv 1603.09382).
  """
  return x if kept is None else x * kept[:, None, None, None].astype(x.dtype)


def dropout(x: jax.Array, rate: float, mode: Mode) -> jax.Array:
  """Zeroes elements of `x` [N, C] with probability `rate` while training, and rescales the rest."""
  if not mode.is_training or rate == 0:
    return x
  keep = mode.uniform(x.shape[-1]) >= rate
  return jnp.where(keep, x / (1 - rate), 0).astype(x.dtype)
