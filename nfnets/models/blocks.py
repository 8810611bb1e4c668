"""The residual blocks: one class per equation."""

import haiku as hk
import jax

from nfnets.errors import InputError
from nfnets.models import layers
from nfnets.models.activations import find_activation
from nfnets.models.initializers import Constant
from nfnets.models.plan import Place
from nfnets.models.variants import Variant


class NFBlock(hk.Module):
  """The block of NFNets: `h' = shortcut + alpha * gain * f(act(h) * beta)`.

  `f` is 1x1, 3x3 grouped, 3x3 grouped, 1x1, then Squeeze-Excite.  Where the shape changes, the
  shortcut is a projection of the normalized input, average-pooled before it when the block is
  strided; elsewhere it is the identity.  The gain is SkipInit's: a scalar, zero at initialization.

  From "High-Performance Large-Scale Image Recognition Without Normalization" (Brock et al. 2021,
  arXiv 2102.06171, appendix C).
  """

  def __init__(self, place: Place, variant: Variant, *, name: str = 'nf_block'):
    super().__init__(name=name)
    self.place = place
    self.alpha = variant.alpha
    self.initial_gain = variant.skip_gain
    self.activation = find_activation(variant.activation)
    self.drop_rate = variant.stochdepth_rate * place.depth_fraction
    groups = int(place.out_channels * variant.bottleneck) // variant.group_width
    if groups == 0:
      raise InputError(
        f'group_width={variant.group_width} is more than the {place.out_channels} output channels '
        f'of block {place.index} times bottleneck={variant.bottleneck}'
      )
    width = variant.group_width * groups
    self.conv0 = layers.WSConv2D(width, 1, name='conv0')
    self.conv1 = layers.WSConv2D(width, 3, stride=place.stride, groups=groups, name='conv1')
    self.conv1b = layers.WSConv2D(width, 3, groups=groups, name='conv1b')
    self.conv2 = layers.WSConv2D(place.out_channels, 1, name='conv2')
    if place.needs_projection:
      self.conv_shortcut = layers.WSConv2D(place.out_channels, 1, name='conv_shortcut')
    self.squeeze_excite = layers.SqueezeExcite(place.out_channels, variant.se_ratio)

  def __call__(self, x: jax.Array, mode: layers.Mode) -> jax.Array:
    """[N, H, W, in] -> [N, ceil(H / stride), ceil(W / stride), out]."""
    normalized = self.activation(x) * self.place.beta
    shortcut = x
    if self.place.needs_projection:
      pooled = layers.average_pool(normalized, self.place.stride)
      shortcut = self.conv_shortcut(pooled)
    y = self.conv0(normalized)
    for conv in (self.conv1, self.conv1b, self.conv2):
      y = conv(self.activation(y))
    y = layers.stochastic_depth(self.squeeze_excite(y), self.drop_rate, mode)
    gain = hk.get_parameter('skip_gain', (), init=Constant(self.initial_gain))
    return shortcut + y * (self.alpha * gain.astype(y.dtype))
