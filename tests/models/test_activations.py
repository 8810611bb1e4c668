"""Gammas against numerical quadrature, and what the functions are."""

import math

import numpy as np
import pytest

from nfnets.errors import InputError
from nfnets.models.activations import ACTIVATIONS, find_activation

# The trapezoidal rule: for Gaussian weights it is exact but for the kinks, and those lie on nodes.
NODES = np.linspace(-10, 10, 20_001)
WEIGHTS = np.exp(-np.square(NODES) / 2) / np.sum(np.exp(-np.square(NODES) / 2))


def exact_gamma(function):
  """`Var(g(x))**-0.5` for x ~ N(0, 1)."""
  y = np.asarray(function(np.float32(NODES)), np.float64)
  mean = np.sum(WEIGHTS * y)
  return np.sum(WEIGHTS * (y - mean) ** 2) ** -0.5


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_gamma_is_within_a_thousandth_of_the_exact_one(name):
  activation = ACTIVATIONS[name]
  assert activation.gamma == pytest.approx(exact_gamma(activation.function), rel=1e-3)


def test_the_quadrature_against_values_by_hand():
  assert exact_gamma(lambda x: np.maximum(x, 0)) == pytest.approx((0.5 - 0.5 / math.pi) ** -0.5)
  assert exact_gamma(lambda x: 3 * x) == pytest.approx(1 / 3)


FUNCTIONS = {
  'identity': lambda x: x,
  'celu': lambda x: x if x > 0 else math.expm1(x),
  'elu': lambda x: x if x > 0 else math.expm1(x),
  'gelu': lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
  'gelu_exact': lambda x: x / 2 * (1 + math.erf(x / math.sqrt(2))),
  'leaky_relu': lambda x: x if x > 0 else 0.01 * x,
  'log_sigmoid': lambda x: -math.log1p(math.exp(-x)),
  'relu': lambda x: max(x, 0.0),
  'relu6': lambda x: min(max(x, 0.0), 6.0),
  'selu': lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
  'sigmoid': lambda x: 1 / (1 + math.exp(-x)),
  'silu': lambda x: x / (1 + math.exp(-x)),
  'soft_sign': lambda x: x / (1 + abs(x)),
  'softplus': lambda x: math.log1p(math.exp(x)),
  'tanh': math.tanh,
}


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_an_activation_is_gamma_times_its_function(name):
  x = np.float32([-7, -1.5, -0.3, 0, 0.3, 1.5, 7])
  expected = [ACTIVATIONS[name].gamma * FUNCTIONS[name](float(one)) for one in x]
  np.testing.assert_allclose(find_activation(name)(x), expected, rtol=2e-5, atol=1e-6)


def test_a_wrong_name_is_answered_with_the_nearest():
  message = r"^activation='swish' is not known: "
  with pytest.raises(InputError, match=message):
    find_activation('swish')
  with pytest.raises(InputError, match=r'did you mean gelu'):
    find_activation('gelo')
