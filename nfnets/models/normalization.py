"""Batch normalization, for the baselines."""

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets.models.initializers import Constant
from nfnets.models.layers import Mode

EPS = 1e-5
"""Added to the variance."""


class Average(hk.Module):
  """An exponential moving average, corrected for its start; what evaluation uses."""

  def __init__(self, decay: float, first: float, *, name: str):
    """`first` is the average before the first update."""
    super().__init__(name=name)
    self.decay = decay
    self.first = first

  def update(self, value: jax.Array) -> None:
    """Takes one more value in."""
    counter = hk.get_state('counter', (), jnp.int32, init=Constant(0)) + 1
    hidden = hk.get_state('hidden', value.shape, init=Constant(0.0))
    hidden = hidden * self.decay + value * (1 - self.decay)
    hk.set_state('counter', counter)
    hk.set_state('hidden', hidden)
    hk.set_state('average', hidden / (1 - self.decay**counter))

  def read(self, shape: tuple[int, ...]) -> jax.Array:
    """The average so far."""
    return hk.get_state('average', shape, init=Constant(self.first))


class BatchNorm(hk.Module):
  """Batch normalization with scale and offset (Ioffe and Szegedy 2015, arXiv 1502.03167).

  While training, by the mean and variance of the batch at hand, of which moving averages are kept
  as state; in evaluation by the averages.  Statistics are computed in float32.
  """

  def __init__(self, *, decay: float = 0.9, name: str):
    super().__init__(name=name)
    self.mean_average = Average(decay, 0.0, name='mean_ema')
    self.variance_average = Average(decay, 1.0, name='var_ema')

  def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
    """[N, H, W, C] -> [N, H, W, C], in the dtype of `x`."""
    shape = (1, 1, 1, x.shape[-1])
    scale = hk.get_parameter('scale', shape, init=Constant(1.0))
    offset = hk.get_parameter('offset', shape, init=Constant(0.0))
    y = x.astype(jnp.float32)
    # Asked for in training too, so that a fresh network has them.
    mean, variance = self.mean_average.read(shape), self.variance_average.read(shape)
    if mode.is_training:
      mean = jnp.mean(y, (0, 1, 2), keepdims=True)
      variance = jnp.mean(jnp.square(y - mean), (0, 1, 2), keepdims=True)
      self.mean_average.update(mean)
      self.variance_average.update(variance)
    return ((y - mean) * (jax.lax.rsqrt(variance + EPS) * scale) + offset).astype(x.dtype)


class Affine(hk.Module):
  """A scale and an offset for every channel: what evaluation makes of batch normalization."""

  def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
    """[N, H, W, C] -> [N, H, W, C], in the dtype of `x`."""
    del mode
    shape = (1, 1, 1, x.shape[-1])
    scale = hk.get_parameter('scale', shape, init=Constant(1.0))
    offset = hk.get_parameter('offset', shape, init=Constant(0.0))
    return (x.astype(jnp.float32) * scale + offset).astype(x.dtype)
