"""Channel attention: a gate for each channel, from the mean over space.

Normalizer-free networks double the gate, which is about one half at initialization (arXiv
2102.06171, appendix C).
"""

import math

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets.models.initializers import Normal
from nfnets.models.layers import Linear

_GAIN = 2.0


class SqueezeExcite(hk.Module):
  """Scales each channel by a gate computed from the spatial mean (Hu et al. 2018, 1709.01507).

  The hidden layer is a plain ReLU, without gamma, as in the released code.
  """

  def __init__(
    self,
    channels: int,
    ratio: float,
    *,
    hidden: int | None = None,
    gain: float = _GAIN,
    name: str = 'squeeze_excite',
  ):
    """`hidden` units, by default `channels * ratio` rounded down."""
    super().__init__(name=name)
    self.gain = gain
    self.squeeze = Linear(hidden or max(1, int(channels * ratio)), name='linear')
    self.excite = Linear(channels, name='linear_1')

  def __call__(self, x: jax.Array) -> jax.Array:
    """[N, H, W, C] -> [N, H, W, C]."""
    return x * self.gate(jnp.mean(x, axis=(1, 2)))[:, None, None]

  def gate(self, pooled: jax.Array) -> jax.Array:
    """What channels are multiplied by, [N, C], from their means over space [N, C]."""
    return self.gain * jax.nn.sigmoid(self.excite(jax.nn.relu(self.squeeze(pooled))))


class EfficientChannelAttention(hk.Module):
  """Scales each channel by a gate that its neighbours' spatial means determine too.

  A 1-D convolution over the channels, with one small kernel (Wang et al. 2020, arXiv 1910.03151).
  """

  def __init__(
    self,
    channels: int,
    *,
    gain: float = _GAIN,
    name: str = 'efficient_channel_attention',
  ):
    super().__init__(name=name)
    self.gain = gain
    reach = int((math.log2(channels) + 1) / 2)
    self.kernel_shape = max(3, reach if reach % 2 else reach + 1)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[N, H, W, C] -> [N, H, W, C]."""
    return x * self.gate(jnp.mean(x, axis=(1, 2)))[:, None, None]

  def gate(self, pooled: jax.Array) -> jax.Array:
    """What channels are multiplied by, [N, C], from their means over space [N, C]."""
    kernel = hk.get_parameter('w', (self.kernel_shape,), init=Normal(self.kernel_shape**-0.5))
    return self.gain * jax.nn.sigmoid(_convolve_channels(pooled, kernel.astype(pooled.dtype)))


def _convolve_channels(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """[N, C] with a kernel [k] of odd length, zeros around: [N, C].

  Written as a product: on CPUs a convolution of one image channel takes many times as long.
  """
  (_, channels), (length,) = x.shape, kernel.shape
  padded = jnp.pad(x, ((0, 0), (length // 2, length // 2)))
  return jnp.stack([padded[:, i : i + channels] for i in range(length)], axis=-1) @ kernel
