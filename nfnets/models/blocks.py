"""The residual blocks: one class per equation."""

import dataclasses
from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets.models import design, layers
from nfnets.models.initializers import Constant, Normal
from nfnets.models.layers import Mode, Terms
from nfnets.models.plan import Place
from nfnets.models.taps import is_collecting, tap
from nfnets.models.variants import Variant

BOTTLENECK = (1, 3, 1)
"""Kernel sizes of the ImageNet ResNets' branches."""
BASIC = (3, 3)
"""Kernel sizes of the Wide ResNets' branches."""

HE = Normal(gain=2**0.5)
"""Keeps the mean square behind a ReLU (He et al. 2015, arXiv 1502.01852)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreactDesign:
  """What tells the pre-activation blocks without normalization from one another."""

  name: str
  """Of the block's module."""
  kernels: tuple[int, ...] = BOTTLENECK
  """Sizes of the convolutions.  The first that is not 1x1 is strided, all of these are grouped."""
  conv_names: tuple[str, ...] = ('conv0', 'conv1', 'conv2')
  width: Callable[[Place, Variant], tuple[int, int]]
  """Channels and groups of all convolutions but the last."""
  pooled_shortcut: bool = False
  """A strided shortcut is pooled and projected; otherwise the projection itself is strided."""
  inner_attention: bool = False
  """Channel attention precedes the last convolution instead of following it."""
  standardized: bool = True
  """Scaled weight standardization and gamma-scaled activations; otherwise neither."""
  w_init: hk.initializers.Initializer | None = None
  """Of convolutions that are not standardized; None for that of `Conv2D`."""
  gained: bool = True
  """SkipInit's gain ends the branch."""
  divisor: float = 1.0
  """Of the sum of shortcut and branch."""


class PreactBlock(hk.Module):
  """`h' = (shortcut + alpha * gain * f(act(h) * beta)) / divisor`, without normalization.

  `f` is the convolutions, with channel attention where the variant has it.  Where the shape
  changes, the shortcut is a projection of the normalized input; elsewhere it is the identity.  The
  gain is SkipInit's: a scalar, zero at initialization (De and Smith 2020, arXiv 2002.10444).

  The block of NFNet (arXiv 2102.06171, appendix C), NF-RegNet, NF-ResNet (arXiv 2101.08692); with
  alpha and beta 1, of the SkipInit ResNets and of those that divide by the square root of 2.
  """

  def __init__(self, spec: PreactDesign, place: Place, variant: Variant):
    super().__init__(name=spec.name)
    self.spec, self.place, self.variant = spec, place, variant
    choose = design.scaled_activation if spec.standardized else design.plain_activation
    self.activation = choose(variant)
    self.folded = variant.conventions.folded
    self.gained = spec.gained and not variant.conventions.gain_in_kernel
    width, groups = spec.width(place, variant)
    strided = next(i for i, size in enumerate(spec.kernels) if size > 1)
    last = len(spec.kernels) - 1
    self.convs = [
      self._conv(
        width if i < last else place.out_channels,
        size,
        stride=place.stride if i == strided else 1,
        groups=groups if size > 1 else 1,
        first_gain=variant.skip_gain if i == last and spec.gained and not self.gained else 1.0,
        name=name,
      )
      for i, (name, size) in enumerate(zip(spec.conv_names, spec.kernels, strict=True))
    ]
    if place.needs_projection:
      stride = 1 if spec.pooled_shortcut else place.stride
      self.conv_shortcut = self._conv(place.out_channels, 1, stride=stride, name='conv_shortcut')
    attended = width if spec.inner_attention else place.out_channels
    self.attention = design.attention(variant, attended)

  @hk.transparent  # else the method's name would be part of the parameters' paths
  def _conv(
    self,
    channels: int,
    size: int,
    *,
    stride: int,
    groups: int = 1,
    first_gain: float = 1.0,
    name: str,
  ) -> layers.WSConv2D | layers.Conv2D:
    if self.spec.standardized:
      return design.standardized_conv(
        self.variant,
        channels,
        size,
        stride=stride,
        groups=groups,
        first_gain=first_gain,
        name=name,
      )
    return layers.Conv2D(channels, size, stride=stride, w_init=self.spec.w_init, name=name)

  def __call__(self, x: jax.Array, mode: Mode, terms: Terms) -> jax.Array:
    """[N, H, W, in] -> [N, ceil(H / stride), ceil(W / stride), out]."""
    del mode
    normalized = self.activation(x)
    if not self.folded:
      normalized = normalized * jnp.asarray(terms.beta, x.dtype)
    shortcut, shortcut_bias = self._shortcut(x, normalized)
    y, bias = self.convs[-1].apart(self._inner(normalized))
    y, bias = _multiplied(y, bias, self._factor(y, bias, terms))
    # Biases come last: their gradients, and those of gate and gain, follow from the same two sums
    # over space.  Added where the equation has them, each would take a sum over everything.
    bias = bias if shortcut_bias is None else bias + shortcut_bias
    merged = shortcut + (y + bias)
    return merged if self.folded or self.spec.divisor == 1 else merged / self.spec.divisor

  @hk.transparent
  def _inner(self, y: jax.Array) -> jax.Array:
    """What the last convolution of the branch is given."""
    for conv in self.convs[:-1]:
      if self.spec.inner_attention and conv is self.convs[-2]:
        y, bias = conv.apart(y)
        y, bias = _multiplied(y, bias, self._gate(y, bias))
        y = self.activation(y + bias)
      else:
        y = conv.activated(y, self.activation)
    return y

  @hk.transparent
  def _factor(self, y: jax.Array, bias: jax.Array, terms: Terms) -> jax.Array | None:
    """Gate, scale and stochastic depth of the branch, [N, 1, 1, C] at most; None for 1."""
    gate = None if self.spec.inner_attention else self._gate(y, bias)
    if is_collecting():
      ungated = y + bias
      tap('branch', ungated if gate is None else ungated * gate)
    if self.folded:  # the scale is in the last kernel, or else in the gate
      return None if gate is None else gate * (self._scale(y.dtype) / self.spec.divisor)
    scale = jnp.reshape(self._scale(y.dtype), (1, 1, 1, 1))
    return layers.stochastic_depth(scale if gate is None else gate * scale, terms.kept)

  @hk.transparent
  def _gate(self, y: jax.Array, bias: jax.Array) -> jax.Array | None:
    """[N, 1, 1, C]: what channel attention multiplies `y + bias` by; None without attention."""
    if self.attention is None:
      return None
    return self.attention.gate(jnp.mean(y, axis=(1, 2)) + bias)[:, None, None]

  @hk.transparent
  def _scale(self, dtype: jnp.dtype) -> jax.Array:
    """Alpha times SkipInit's gain."""
    if not self.gained:
      return jnp.asarray(self.variant.alpha, dtype)
    gain = hk.get_parameter('skip_gain', (), init=Constant(self.variant.skip_gain))
    return self.variant.alpha * gain.astype(dtype)

  @hk.transparent
  def _shortcut(self, x: jax.Array, normalized: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """What the branch is added to, and its bias if it has one."""
    if not self.place.needs_projection:
      return x / self.spec.divisor if self.folded and self.spec.divisor != 1 else x, None
    pool = self.place.stride if self.spec.pooled_shortcut else 1
    return self.conv_shortcut.apart(layers.average_pool(normalized, pool))


def _multiplied(
  y: jax.Array, bias: jax.Array, factor: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """Both addends by a factor that they share; None is 1."""
  return (y, bias) if factor is None else (y * factor, bias * factor)


class FixupBlock(hk.Module):
  """`h' = act(shortcut + scale * f(h + bias) + bias)` with biases of one number each.

  No normalization: the last convolution of a branch starts at zero, the other m - 1 are scaled by
  the number of blocks to the power of -1 / (2m - 2) (Zhang et al. 2019, arXiv 1901.09321, section
  3).  Either is enough to train deep networks (De and Smith 2020, arXiv 2002.10444), so either can
  be left out: then those convolutions start as He et al. have them.

  Folded, every convolution has a bias of its own, and only those that pad keep the one before: what
  they pad with is zero whatever is added in front.
  """

  def __init__(self, place: Place, variant: Variant, *, kernels: tuple[int, ...] = BOTTLENECK):
    super().__init__(name='res_block')
    self.place = place
    self.activation = design.plain_activation(variant)
    self.folded = variant.conventions.folded
    width, out = int(place.out_channels * variant.bottleneck), place.out_channels
    zeros, shrunken = (variant.fixup_rules in ('both', rule) for rule in ('zeros', 'shrunken'))
    shrink = variant.num_blocks ** (-1 / (2 * len(kernels) - 2)) if shrunken else 1.0
    strided, last = kernels.index(3), len(kernels) - 1

    def conv(
      channels: int,
      size: int,
      stride: int,
      name: str,
      w_init: hk.initializers.Initializer,
      *,
      with_bias: bool = False,
    ):
      return layers.Conv2D(
        channels, size, stride=stride, with_bias=with_bias, w_init=w_init, name=name
      )

    def he_by_fan_out(channels: int, size: int, factor: float) -> Normal:
      return Normal((2 / (size**2 * channels)) ** 0.5 * factor)

    end = Constant(0.0) if zeros else he_by_fan_out(out, kernels[last], 1.0)
    self.convs = [
      conv(
        width if i < last else out,
        size,
        place.stride if i == strided else 1,
        f'conv{i}',
        he_by_fan_out(width, size, shrink) if i < last else end,
        with_bias=self.folded,
      )
      for i, size in enumerate(kernels)
    ]
    if place.needs_projection:
      first = he_by_fan_out(out, 1, 1.0)
      self.conv_shortcut = conv(out, 1, place.stride, 'conv_shortcut', first)

  def __call__(self, x: jax.Array, mode: Mode, terms: Terms) -> jax.Array:
    """[N, H, W, in] -> [N, ceil(H / stride), ceil(W / stride), out]."""
    del mode
    if self.folded:
      return self._folded(x)
    y = x + layers.scalar('bias1a', x)
    shortcut = self.conv_shortcut(y) if self.place.needs_projection else y
    for i, conv in enumerate(self.convs[:-1], start=1):
      y = self.activation(conv(y) + layers.scalar(f'bias{i}b', x))
      y = y + layers.scalar(f'bias{i + 1}a', x)
    y = self.convs[-1](y) * layers.scalar('scale', x, first=1.0)
    y = y + layers.scalar(f'bias{len(self.convs)}b', x)
    y = layers.stochastic_depth(tap('branch', y), terms.kept)
    return self.activation(y + shortcut)

  @hk.transparent
  def _folded(self, x: jax.Array) -> jax.Array:
    y = self._before(1, x)
    shortcut = self.conv_shortcut(y) if self.place.needs_projection else y
    y = self.convs[0](y)
    for i, conv in enumerate(self.convs[1:], start=2):
      y = conv(self._before(i, self.activation(y)))
    return self.activation(y + shortcut)

  @hk.transparent
  def _before(self, i: int, y: jax.Array) -> jax.Array:
    """The input of the convolution `i` of a folded branch, counted from 1."""
    return y if self.convs[i - 1].kernel_shape == 1 else y + layers.scalar(f'bias{i}a', y)


class BatchNormBlock(hk.Module):
  """Residual block with batch normalization, before or behind its convolutions.

  Before ('v2'): `h' = shortcut + f(act(norm(h)))` (He et al. 2016, arXiv 1603.05027); behind
  ('v1'): `h' = act(shortcut + f(h))` (He et al. 2015, arXiv 1512.03385).
  """

  def __init__(
    self,
    place: Place,
    variant: Variant,
    *,
    preactivation: bool,
    kernels: tuple[int, ...] = BOTTLENECK,
    w_init: hk.initializers.Initializer | None = None,
  ):
    super().__init__(name='res_block_v2' if preactivation else 'res_block_v1')
    self.place, self.variant, self.preactivation = place, variant, preactivation
    self.activation = design.plain_activation(variant)
    width, out = int(place.out_channels * variant.bottleneck), place.out_channels
    strided, last = kernels.index(3), len(kernels) - 1
    folded = variant.conventions.folded
    self.norms = [
      design.batch_norm(variant, f'bn{i}', behind_conv=i > 0 or not preactivation)
      for i in range(len(kernels))
    ]
    self.convs = [
      layers.Conv2D(
        width if i < last else out,
        size,
        stride=place.stride if i == strided else 1,
        with_bias=folded and (i < last or not preactivation),
        w_init=w_init,
        name=f'conv{i}',
      )
      for i, size in enumerate(kernels)
    ]
    if place.starts_stage:
      self.conv_shortcut = layers.Conv2D(
        out,
        1,
        stride=place.stride,
        with_bias=folded and not preactivation,
        w_init=w_init,
        name='conv_shortcut',
      )
    self.attention = design.attention(variant, out, gain=1.0)

  def __call__(self, x: jax.Array, mode: Mode, terms: Terms) -> jax.Array:
    """[N, H, W, in] -> [N, ceil(H / stride), ceil(W / stride), out]."""
    return self._before(x, mode, terms) if self.preactivation else self._behind(x, mode, terms)

  @hk.transparent
  def _before(self, x: jax.Array, mode: Mode, terms: Terms) -> jax.Array:
    y, shortcut = x, x
    for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
      y = self.activation(norm(y, mode))
      if i == 0 and self.place.starts_stage:
        shortcut = self.conv_shortcut(y)
      y = conv(y)
    return shortcut + self._branch_end(y, terms)

  @hk.transparent
  def _behind(self, x: jax.Array, mode: Mode, terms: Terms) -> jax.Array:
    shortcut = x
    if self.place.starts_stage:
      # Made here and not in `__init__`, as in the released code: its path has no '~'.
      norm = design.batch_norm(self.variant, 'shortcut_bn', behind_conv=True)
      shortcut = norm(self.conv_shortcut(x), mode)
    y = x
    for norm, conv in zip(self.norms, self.convs, strict=True):
      y = norm(conv(y), mode)
      y = self.activation(y) if norm is not self.norms[-1] else y
    return self.activation(shortcut + self._branch_end(y, terms))

  @hk.transparent
  def _branch_end(self, y: jax.Array, terms: Terms) -> jax.Array:
    y = self.attention(y) if self.attention else y
    return layers.stochastic_depth(tap('branch', y), terms.kept)
