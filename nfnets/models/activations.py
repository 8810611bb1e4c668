"""The gamma-scaled nonlinearities: each keeps the variance of a standard normal input at one.

Gamma is `Var(g(x))**-0.5` for x ~ N(0, 1) (Brock et al. 2021, arXiv 2101.08692, section 4).  The
constants are the Monte-Carlo estimates that the released weights were trained with; they lie within
0.1 % of the exact values.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import nn

from nfnets import names
from nfnets.models.recomputed import Recomputed


@dataclasses.dataclass(frozen=True)
class Activation:
  """A nonlinearity and the gain that makes it preserve variance."""

  function: Callable[[jax.Array], jax.Array]
  gamma: float

  def __call__(self, x: jax.Array) -> jax.Array:
    """`gamma * function(x)`, elementwise."""
    return self.function(x) * self.gamma


def _identity(x: jax.Array) -> jax.Array:
  return x


def _gelu_tanh(x: jax.Array) -> jax.Array:
  return nn.gelu(x, approximate=True)


def _gelu_erf(x: jax.Array) -> jax.Array:
  return nn.gelu(x, approximate=False)


def _silu_slope(x: jax.Array) -> jax.Array:
  """With the sigmoid as a hyperbolic tangent, which CPUs compute faster."""
  sigmoid = 0.5 + 0.5 * jnp.tanh(0.5 * x)
  return sigmoid * (1 + x * (1 - sigmoid))


ACTIVATIONS = {
  'identity': Activation(_identity, 1.0),
  'celu': Activation(Recomputed(nn.celu), 1.270926833152771),
  'elu': Activation(Recomputed(nn.elu), 1.2716004848480225),
  'gelu': Activation(Recomputed(_gelu_tanh), 1.7015043497085571),
  'gelu_exact': Activation(Recomputed(_gelu_erf), 1.7015043497085571),
  'leaky_relu': Activation(nn.leaky_relu, 1.70590341091156),
  'log_sigmoid': Activation(Recomputed(nn.log_sigmoid), 1.9193484783172607),
  'relu': Activation(nn.relu, 1.7139588594436646),
  'relu6': Activation(nn.relu6, 1.7131484746932983),
  'selu': Activation(Recomputed(nn.selu), 1.0008515119552612),
  'sigmoid': Activation(nn.sigmoid, 4.803835391998291),
  'silu': Activation(Recomputed(nn.silu, _silu_slope), 1.7881293296813965),
  'soft_sign': Activation(nn.soft_sign, 2.338853120803833),
  'softplus': Activation(Recomputed(nn.softplus), 1.9203323125839233),
  'tanh': Activation(jnp.tanh, 1.5939117670059204),
}


def find_activation(name: str) -> Activation:
  """The activation called `name`.

  Raises:
    InputError: there is no such activation.
  """
  return names.look_up(name, ACTIVATIONS, argument='activation')
