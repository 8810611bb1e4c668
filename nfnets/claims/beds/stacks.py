"""The smallest residual networks in which the order of the layers can be chosen.

Two 3x3 convolutions a block, one width, maps of one size that close around their edges, so that
there is no border to allow for.
"""

import dataclasses
import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from nfnets.claims.beds.propagation import as_measured
from nfnets.claims.claim import Measured, Source
from nfnets.models import plan
from nfnets.models.activations import ACTIVATIONS
from nfnets.models.plan import Place
from nfnets.models.signals import signal_propagation
from nfnets.models.standardization import SCALED
from nfnets.models.taps import tap

Order = Literal['bn_relu', 'relu_bn', 'free']
_EPS = 1e-5

Params = list[dict[str, jax.Array]]
"""Of each block."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stack:
  """A network at initialization, and normal numbers for it."""

  order: Order
  """Batch normalization before or behind the activation, or none: then beta divides."""
  kernels: Literal['standardized', 'normal']
  """Scaled weight standardization, with activations times gamma; or normal numbers."""
  factor: float = 1.0
  """Variance of normal kernels times their fan-in; He's is 2."""
  activation: str = 'relu'
  alpha: float = 1.0
  depths: tuple[int, ...] = (8, 8, 8)
  width: int = 128
  size: int = 8
  batch: int = 32
  seed: int = 0

  @property
  def places(self) -> list[Place]:
    """Where each block sits, with its beta."""
    stages = len(self.depths)
    return list(
      plan.walk(
        self.width,
        widths=(self.width,) * stages,
        depths=self.depths,
        strides=(1,) * stages,
        alpha=self.alpha,
      )
    )


def measure(stack: Stack, source: Source) -> Measured:
  """The curves of its signal propagation plot."""
  del source
  for_params, for_images = jax.random.split(jax.random.key(stack.seed))
  shape = (stack.batch, stack.size, stack.size, stack.width)
  signals = signal_propagation(
    functools.partial(_forward, stack),
    _init(stack, for_params),
    jax.random.normal(for_images, shape),
  )
  return as_measured(signals, [place.stage for place in stack.places])


def _init(stack: Stack, key: jax.Array) -> Params:
  shapes = {'conv0': (3, 3), 'conv1': (3, 3), 'shortcut': (1, 1)}
  return [
    {
      name: _kernel(stack, (*sides, stack.width, stack.width), jax.random.fold_in(key, 3 * i + j))
      for j, (name, sides) in enumerate(shapes.items())
    }
    for i in range(len(stack.places))
  ]


def _kernel(stack: Stack, shape: tuple[int, ...], key: jax.Array) -> jax.Array:
  numbers = jax.random.normal(key, shape)
  if stack.kernels == 'standardized':
    return SCALED(numbers, jnp.ones(shape[-1]))
  return numbers * math.sqrt(stack.factor / math.prod(shape[:-1]))


def _forward(stack: Stack, params: Params, x: jax.Array) -> jax.Array:
  for place, kernels in zip(stack.places, params, strict=True):
    y = ready = _ready(stack, x * place.beta if stack.order == 'free' else x)
    y = _convolve(y, kernels['conv0'])
    y = tap('branch', _convolve(_ready(stack, y), kernels['conv1']))
    shortcut = _convolve(ready, kernels['shortcut']) if place.starts_stage else x
    x = tap('block', shortcut + stack.alpha * y)
  return x


def _ready(stack: Stack, x: jax.Array) -> jax.Array:
  """What a convolution is given."""
  activation = ACTIVATIONS[stack.activation]
  activate: Any = activation if stack.kernels == 'standardized' else activation.function
  if stack.order == 'bn_relu':
    return activate(_normalized(x))
  return _normalized(activate(x)) if stack.order == 'relu_bn' else activate(x)


def _normalized(x: jax.Array) -> jax.Array:
  mean, variance = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
  return (x - mean) * jax.lax.rsqrt(variance + _EPS)


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  reach = kernel.shape[0] // 2
  framed = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode='wrap')
  return jax.lax.conv_general_dilated(
    framed, kernel, (1, 1), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
