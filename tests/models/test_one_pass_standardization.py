"""The form of accelerators standardizes as the plain one does, and so is its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.models import one_pass_standardization
from nfnets.models.standardization import Standardization

RULES = [
  Standardization(),
  Standardization(eps=1e-2, eps_is_added=True, scale=1.7),
  Standardization(eps=30.0),  # more than most kernels below have: it is what they are divided by
]
SHAPES = [(3, 3, 3, 16), (1, 1, 5, 7), (3, 1, 41, 63), (7, 130), (1, 1, 1, 3)]


def draw(shape, mean=0.3, spread=0.2):
  rng = np.random.default_rng(0)
  kernel, cotangent = rng.standard_normal((2, *shape), dtype=np.float32)
  gain = rng.standard_normal(shape[-1:], dtype=np.float32)
  return jnp.asarray(spread * kernel + mean), jnp.asarray(gain), jnp.asarray(cotangent)


def by_one_pass(rule, kernel, gain, cotangent):
  result = one_pass_standardization.standardize(kernel, gain, rule=rule)
  return result, *one_pass_standardization.gradient(kernel, gain, cotangent, rule=rule)


def by_definition(rule, kernel, gain, cotangent):
  result, transpose = jax.vjp(rule.plain, kernel, gain)
  return result, *transpose(cotangent)


def close(actual, expected, atol=5e-6):
  for x, y in zip(actual, expected, strict=True):
    scale = max(float(np.max(np.abs(y))), 1e-3)
    np.testing.assert_allclose(x / scale, y / scale, rtol=0, atol=atol)


@pytest.mark.parametrize('rule', RULES, ids=['released', 'added', 'bounded'])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_result_and_gradients_are_those_of_the_plain_form(shape, rule):
  drawn = draw(shape)
  ours, plain = by_one_pass(rule, *drawn), by_definition(rule, *drawn)
  assert [x.shape for x in ours] == [x.shape for x in plain]
  close(ours, plain)


@pytest.mark.parametrize('mean', [1.0, -20.0, 2000.0])
def test_a_mean_far_from_zero_costs_no_precision(mean):
  """Sums of squares around zero would have no digit left at the last of them."""
  kernel, gain, cotangent = draw((3, 3, 40, 8), mean=mean)
  with jax.enable_x64(True):
    drawn = (jnp.asarray(np.float64(x)) for x in (kernel, gain, cotangent))
    exact = [np.asarray(x) for x in by_definition(Standardization(), *drawn)]
  plain = by_definition(Standardization(), kernel, gain, cotangent)
  ours = by_one_pass(Standardization(), kernel, gain, cotangent)
  for x, y, right in zip(ours, plain, exact, strict=True):
    error, allowed = (np.max(np.abs(np.asarray(z) - right)) / np.max(np.abs(right)) for z in (x, y))
    assert error < 3 * allowed + 2e-6


def test_a_constant_kernel_stays_finite():
  _, gain, cotangent = draw((3, 3, 4, 6))
  kernel = jnp.full((3, 3, 4, 6), 0.7)
  ours = by_one_pass(Standardization(), kernel, gain, cotangent)
  np.testing.assert_array_equal(ours[0], jnp.zeros_like(kernel))
  factor = gain / Standardization().eps ** 0.5
  expected = factor * (cotangent - jnp.mean(cotangent, (0, 1, 2)))
  np.testing.assert_allclose(ours[1], expected, atol=1e-4)
  np.testing.assert_array_equal(ours[2], jnp.zeros_like(gain))


def test_accelerators_get_it_and_cpus_do_not():
  kernel, gain, cotangent = draw((3, 3, 8, 16))

  def both(kernel, gain):
    result, transpose = jax.vjp(Standardization(), kernel, gain)
    return result, *transpose(cotangent)

  def sums(platform):
    program = jax.jit(both).trace(kernel, gain).lower(lowering_platforms=(platform,))
    return program.as_text().count('stablehlo.reduce(')

  alone = jax.jit(lambda *x: by_one_pass(Standardization(), *x)).lower(kernel, gain, cotangent)
  assert sums('tpu') == sums('cuda') == alone.as_text().count('stablehlo.reduce(') == 6
  assert sums('cpu') > 6
