"""How fast convolutions and their gradients are computed, class by class, beside XLA's own."""

import dataclasses
import functools
import statistics
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from nfnets.benchmarks.timing import matmul_rate, time_calls
from nfnets.models import direct_convolution
from nfnets.models.convolution import convolve
from nfnets.models.windows import Window

_SECONDS = 0.2
_GROUPS = 3  # of calls, for a median
_TURNS = 2


@dataclasses.dataclass(frozen=True)
class Layer:
  """A convolution of a network, on 8 images of its training size."""

  name: str
  size: int
  """Side of the image."""
  channels: int
  outputs: int
  kernel: int
  groups: int = 1
  stride: int = 1
  images: int = 8

  @property
  def window(self) -> Window:
    """Its geometry."""
    return Window(
      image=(self.size, self.size),
      kernel=(self.kernel, self.kernel),
      stride=self.stride,
      groups=self.groups,
    )

  @property
  def flops(self) -> int:
    """Of one of its three computations; those with padding count."""
    height, width = self.window.output
    each = self.kernel**2 * self.channels // self.groups
    return 2 * self.images * height * width * self.outputs * each


LAYERS = (
  Layer('F0, stem, first', 192, 3, 16, 3, stride=2),
  Layer('F0, stem, third', 96, 32, 64, 3),
  Layer('F0, stem, last', 96, 64, 128, 3, stride=2),
  Layer('F0, stage 0, 3x3', 48, 128, 128, 3),
  Layer('F0, stage 1, 3x3', 24, 256, 256, 3, groups=2),
  Layer('F0, stage 2, 3x3, strided', 24, 768, 768, 3, groups=6, stride=2),
  Layer('F0, stage 2, 3x3', 12, 768, 768, 3, groups=6),
  Layer('F0, stage 3, 3x3', 6, 768, 768, 3, groups=6),
  Layer('F0, stage 0, 1x1', 48, 128, 256, 1),
  Layer('F0, stage 2, 1x1', 12, 1536, 768, 1),
  Layer('ResNet-50, stage 1, 1x1, strided', 56, 256, 512, 1, stride=2),
  Layer('NF-RegNet-B0, 3x3, groups of 8', 24, 104, 104, 3, groups=13),
  Layer('NF-RegNet-B0, 3x3, groups of 8', 12, 448, 448, 3, groups=56),
)
"""Each class of convolutions at least once."""


@dataclasses.dataclass(frozen=True)
class Rates:
  """Floating-point operations a second of a layer: forwards, and both gradients."""

  layer: Layer
  ours: tuple[float, float, float]
  xla: tuple[float, float, float]


def measure(layers: Sequence[Layer] = LAYERS) -> list[Rates]:
  """Times every layer in float32, ours and XLA's in turns."""
  return [_measure(layer) for layer in layers]


def product_rate() -> float:
  """Floating-point operations a second of a large matrix product on the first device."""
  return matmul_rate(jax.devices()[0], 'float32')


def _measure(layer: Layer) -> Rates:
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (layer.images, layer.size, layer.size, layer.channels))
  shape = (layer.kernel, layer.kernel, layer.channels // layer.groups, layer.outputs)
  kernel = jax.random.normal(keys[1], shape)
  ours = functools.partial(convolve, stride=layer.stride, groups=layer.groups)
  xla = functools.partial(direct_convolution.forward, window=layer.window)
  calls = [_three(ours, x, kernel), _three(xla, x, kernel)]
  seconds: list[list[list[float]]] = [[[], [], []], [[], [], []]]
  for _ in range(_TURNS):
    for whose, three in enumerate(calls):
      for which, call in enumerate(three):
        timing = time_calls(call, groups=_GROUPS, seconds=_SECONDS)
        seconds[whose][which] += timing.seconds
  rates = [[layer.flops / statistics.median(one) for one in three] for three in seconds]
  return Rates(layer, *map(tuple, rates))  # pyright: ignore


def _three(
  convolution: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, kernel: jax.Array
) -> list[Callable[[], jax.Array]]:
  """The convolution, its gradient by the image and that by the kernel."""
  forward = jax.jit(convolution)
  cotangent = jnp.ones_like(forward(x, kernel))
  by_image = jax.jit(lambda x, k, ct: jax.vjp(lambda x: convolution(x, k), x)[1](ct)[0])
  by_kernel = jax.jit(lambda x, k, ct: jax.vjp(lambda k: convolution(x, k), k)[1](ct)[0])
  return [
    lambda: forward(x, kernel),
    lambda: by_image(x, kernel, cotangent),
    lambda: by_kernel(x, kernel, cotangent),
  ]


def markdown(measured: Sequence[Rates], matmul: float) -> str:
  """The rates as shares of that of a large matrix product, ours / XLA's own."""
  rows = [
    '| layer | image | channels | groups | forwards | by image | by kernel |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
  ]
  for rates in measured:
    layer = rates.layer
    cells = [
      f'{ours / matmul:.2f} / {xla / matmul:.2f}'
      for ours, xla in zip(rates.ours, rates.xla, strict=True)
    ]
    channels = f'{layer.channels} to {layer.outputs}'
    rows.append(
      f'| {layer.name} | {layer.size} | {channels} | {layer.groups} | {" | ".join(cells)} |'
    )
  return '\n'.join([*rows, '', f'A large product of matrices: {matmul / 1e9:.0f} GFLOP/s.'])
