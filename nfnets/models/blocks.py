"""The residual blocks: one class per equation."""

import dataclasses
from collections.abc import Callable

import haiku as hk
import jax

from nfnets.models import layers
from nfnets.models.activations import find_activation
from nfnets.models.initializers import Constant, Normal
from nfnets.models.layers import Mode
from nfnets.models.normalization import BatchNorm
from nfnets.models.plan import Place
from nfnets.models.taps import tap
from nfnets.models.variants import Variant

Activation = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreactDesign:
  """What tells the pre-activation blocks without normalization from one another."""

  name: str
  """Of the block's module."""
  inner_convs: tuple[str, ...] = ('conv1',)
  """Names of the 3x3 convolutions; the first is strided."""
  width: Callable[[Place, Variant], tuple[int, int]]
  """Channels and groups of the 3x3 convolutions."""
  pooled_shortcut: bool
  """A strided shortcut is pooled and projected; otherwise the projection itself is strided."""
  inner_se: bool = False
  """Squeeze-Excite follows the 3x3 convolutions, not the last 1x1."""
  standardized: bool = True
  """Scaled weight standardization and gamma-scaled activations; otherwise neither."""


class PreactBlock(hk.Module):
  """`h' = shortcut + alpha * gain * f(act(h) * beta)`, without normalization.

  `f` is 1x1, one or two 3x3, 1x1, with Squeeze-Excite where the variant has it.  Where the shape
  changes, the shortcut is a projection of the normalized input; elsewhere it is the identity.  The
  gain is SkipInit's: a scalar, zero at initialization (De and Smith 2020, arXiv 2002.10444).

  The block of NFNet (arXiv 2102.06171, appendix C), NF-RegNet, NF-ResNet (arXiv 2101.08692) and of
  the SkipInit ResNet, which has alpha and beta 1.
  """

  def __init__(self, design: PreactDesign, place: Place, variant: Variant):
    super().__init__(name=design.name)
    self.design, self.place = design, place
    self.alpha = variant.alpha
    self.initial_gain = variant.skip_gain
    self.drop_rate = variant.stochdepth_rate * place.depth_fraction
    activation = find_activation(variant.activation)
    self.activation: Activation = activation if design.standardized else activation.function
    width, groups = design.width(place, variant)
    self.conv0 = self._conv(width, 1, name='conv0')
    strides = (place.stride, *(1 for _ in design.inner_convs[1:]))
    self.inner = [
      self._conv(width, 3, stride=stride, groups=groups, name=name)
      for name, stride in zip(design.inner_convs, strides, strict=True)
    ]
    self.conv2 = self._conv(place.out_channels, 1, name='conv2')
    if place.needs_projection:
      stride = 1 if design.pooled_shortcut else place.stride
      self.conv_shortcut = self._conv(place.out_channels, 1, stride=stride, name='conv_shortcut')
    self.squeeze_excite = None
    if variant.se_ratio is not None:
      channels = width if design.inner_se else place.out_channels
      self.squeeze_excite = layers.SqueezeExcite(channels, variant.se_ratio)

  @hk.transparent  # else the method's name would be part of the parameters' paths
  def _conv(
    self, channels: int, size: int, *, stride: int = 1, groups: int = 1, name: str
  ) -> Callable[[jax.Array], jax.Array]:
    if self.design.standardized:
      return layers.WSConv2D(channels, size, stride=stride, groups=groups, name=name)
    return layers.Conv2D(channels, size, stride=stride, name=name)

  def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
    """[N, H, W, in] -> [N, ceil(H / stride), ceil(W / stride), out]."""
    design, place, excite = self.design, self.place, self.squeeze_excite
    normalized = self.activation(x) * place.beta
    shortcut = x
    if place.needs_projection:
      pool = place.stride if design.pooled_shortcut else 1
      shortcut = self.conv_shortcut(layers.average_pool(normalized, pool))
    y = self.conv0(normalized)
    for conv in self.inner:
      y = conv(self.activation(y))
    if excite and design.inner_se:
      y = excite(y)
    y = self.conv2(self.activation(y))
    if excite and not design.inner_se:
      y = excite(y)
    y = layers.stochastic_depth(tap('branch', y), self.drop_rate, mode)
    gain = hk.get_parameter('skip_gain', (), init=Constant(self.initial_gain))
    return shortcut + y * (self.alpha * gain.astype(y.dtype))


class FixupBlock(hk.Module):
  """`h' = act(shortcut + scale * f(h + bias) + bias)` with biases of one number each.

  No normalization: the last convolution of a branch starts at zero, the others are scaled down by
  the number of blocks to the power of -1/4 (Zhang et al. 2019, arXiv 1901.09321, section 3).
  """

  def __init__(self, place: Place, variant: Variant):
    super().__init__(name='res_block')
    self.place = place
    self.drop_rate = variant.stochdepth_rate * place.depth_fraction
    self.activation: Activation = find_activation(variant.activation).function
    width, out = int(place.out_channels * variant.bottleneck), place.out_channels
    # He's initialization by the fan-out, and Fixup's factor for three convolutions in a branch.
    shrink = place.num_blocks**-0.25

    def conv(channels: int, size: int, stride: int, name: str, w_init: hk.initializers.Initializer):
      return layers.Conv2D(channels, size, stride=stride, with_bias=False, w_init=w_init, name=name)

    self.conv0 = conv(width, 1, 1, 'conv0', Normal((2 / width) ** 0.5 * shrink))
    self.conv1 = conv(width, 3, place.stride, 'conv1', Normal((2 / (9 * width)) ** 0.5 * shrink))
    self.conv2 = conv(out, 1, 1, 'conv2', Constant(0.0))
    if place.needs_projection:
      self.conv_shortcut = conv(out, 1, place.stride, 'conv_shortcut', Normal((2 / out) ** 0.5))

  def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
    """[N, H, W, in] -> [N, ceil(H / stride), ceil(W / stride), out]."""
    y = x + layers.scalar('bias1a', x)
    shortcut = self.conv_shortcut(y) if self.place.needs_projection else y
    y = self.activation(self.conv0(y) + layers.scalar('bias1b', x))
    y = self.activation(self.conv1(y + layers.scalar('bias2a', x)) + layers.scalar('bias2b', x))
    y = self.conv2(y + layers.scalar('bias3a', x))
    y = y * layers.scalar('scale', x, first=1.0) + layers.scalar('bias3b', x)
    return self.activation(
      layers.stochastic_depth(tap('branch', y), self.drop_rate, mode) + shortcut
    )


class BatchNormBlock(hk.Module):
  """Bottleneck block with batch normalization, before or behind its convolutions.

  Before ('v2'): `h' = shortcut + f(act(norm(h)))` (He et al. 2016, arXiv 1603.05027); behind
  ('v1'): `h' = act(shortcut + f(h))` (He et al. 2015, arXiv 1512.03385).  `f` is 1x1, 3x3, 1x1.
  """

  def __init__(self, place: Place, variant: Variant, *, preactivation: bool):
    super().__init__(name='res_block_v2' if preactivation else 'res_block_v1')
    self.place, self.preactivation = place, preactivation
    self.drop_rate = variant.stochdepth_rate * place.depth_fraction
    self.activation: Activation = find_activation(variant.activation).function
    width, out = int(place.out_channels * variant.bottleneck), place.out_channels
    strides = (1, place.stride, 1)
    self.norms = [BatchNorm(name=f'bn{i}') for i in range(3)]
    self.convs = [
      layers.Conv2D(channels, size, stride=stride, with_bias=False, name=f'conv{i}')
      for i, (channels, size, stride) in enumerate(
        zip((width, width, out), (1, 3, 1), strides, strict=True)
      )
    ]
    if place.starts_stage:
      self.conv_shortcut = layers.Conv2D(
        out, 1, stride=place.stride, with_bias=False, name='conv_shortcut'
      )
    self.squeeze_excite = None
    if variant.se_ratio is not None:
      self.squeeze_excite = layers.SqueezeExcite(out, variant.se_ratio, gain=1.0)

  def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
    """[N, H, W, in] -> [N, ceil(H / stride), ceil(W / stride), out]."""
    return self._before(x, mode) if self.preactivation else self._behind(x, mode)

  @hk.transparent
  def _before(self, x: jax.Array, mode: Mode) -> jax.Array:
    y, shortcut = x, x
    for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
      y = self.activation(norm(y, mode))
      if i == 0 and self.place.starts_stage:
        shortcut = self.conv_shortcut(y)
      y = conv(y)
    return shortcut + self._branch_end(y, mode)

  @hk.transparent
  def _behind(self, x: jax.Array, mode: Mode) -> jax.Array:
    shortcut = x
    if self.place.starts_stage:
      # Made here and not in `__init__`, as in the released code: its path has no '~'.
      shortcut = BatchNorm(name='shortcut_bn')(self.conv_shortcut(x), mode)
    y = x
    for norm, conv in zip(self.norms, self.convs, strict=True):
      y = norm(conv(y), mode)
      y = self.activation(y) if norm is not self.norms[-1] else y
    return self.activation(shortcut + self._branch_end(y, mode))

  @hk.transparent
  def _branch_end(self, y: jax.Array, mode: Mode) -> jax.Array:
    y = self.squeeze_excite(y) if self.squeeze_excite else y
    return layers.stochastic_depth(tap('branch', y), self.drop_rate, mode)
