"""The kernels for CPUs standardize as the plain form does, and so are all their derivatives."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.models.standardization import Standardization

pytestmark = pytest.mark.usefixtures('kernels')

RULES = [
  Standardization(),
  Standardization(eps=1e-2, eps_is_added=True, scale=1.7),
  Standardization(eps=30.0),  # more than most kernels below have: it is what they are divided by
]
SHAPES = [
  (3, 3, 3, 16),
  (1, 1, 5, 7),
  (3, 1, 40, 64),  # a block of columns
  (1, 1, 130, 200),  # several, the last one not whole
  (7, 130),
  (1, 1, 1, 3),  # one input: nothing is left of it
]


def draw(shape):
  """A kernel far from mean 0, a gain, and a cotangent."""
  rng = np.random.default_rng(0)
  kernel, cotangent = rng.standard_normal((2, *shape), dtype=np.float32)
  gain = rng.standard_normal(shape[-1:], dtype=np.float32)
  return jnp.asarray(0.2 * kernel + 0.3), jnp.asarray(gain), jnp.asarray(cotangent)


def compiled(function):
  """Anew: what `jax.jit` compiled of a function stays as it is, kernels or not."""
  return jax.jit(lambda *x: function(*x))


def close(actual, expected, atol=5e-6):
  scale = max(float(np.max(np.abs(expected))), 1e-3)
  np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=atol)


def gradient(function, kernel, gain, cotangent):
  return jax.vjp(function, kernel, gain)[1](cotangent)


@pytest.mark.parametrize('rule', RULES, ids=['released', 'added', 'bounded'])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_results_and_gradients_are_those_of_the_plain_form(shape, rule):
  kernel, gain, cotangent = draw(shape)
  close(compiled(rule)(kernel, gain), rule.plain(kernel, gain))
  ours = jax.jit(lambda *x: gradient(rule, *x))(kernel, gain, cotangent)
  for actual, expected in zip(ours, gradient(rule.plain, kernel, gain, cotangent), strict=True):
    close(actual, expected)


def test_some_of_the_kernels_above_are_bounded_and_some_are_not():
  kernel, _, _ = draw(SHAPES[2])
  squares = np.var(kernel, axis=(0, 1, 2)) * np.prod(kernel.shape[:-1])
  assert np.all(squares < 30)
  assert np.all(squares > 1e-4)


@pytest.mark.parametrize('of', [0, 1])
def test_a_gradient_by_one_of_both_is_that_by_both(of):
  kernel, gain, cotangent = draw(SHAPES[0])
  rule = RULES[0]
  alone = jax.jit(jax.grad(lambda *x: jnp.vdot(rule(*x), cotangent), of))(kernel, gain)
  np.testing.assert_array_equal(
    alone, jax.jit(lambda *x: gradient(rule, *x))(kernel, gain, cotangent)[of]
  )


@pytest.mark.parametrize('rule', RULES[:2], ids=['released', 'added'])
def test_derivatives_go_on(rule):
  kernel, gain, cotangent = draw(SHAPES[2])
  gain = 1 + 0.1 * gain

  def bend(x):
    # Weighted at random: what is alike for all inputs of a unit would cancel and leave rounding.
    return jnp.vdot(jnp.sin(5 * x), cotangent)

  def forward(function):
    return jax.jit(lambda k, g: jax.jvp(function, (k, g), (cotangent, 2 * g))[1])(kernel, gain)

  def curvature(function):
    slope = jax.grad(lambda k, g: bend(function(k, g)), (0, 1))
    return jax.jit(lambda k, g: jax.jvp(slope, (k, g), (cotangent, 2 * g))[1])(kernel, gain)

  def twice(function):
    slope = jax.grad(lambda k, g: bend(function(k, g)))
    return jax.jit(jax.grad(lambda k, g: bend(slope(k, g)), (0, 1)))(kernel, gain)

  for derivative in (forward, curvature, twice):
    ours, plain = derivative(rule), derivative(rule.plain)
    jax.tree.map(lambda a, b: close(a, b, atol=2e-5), ours, plain)


def test_the_kernels_are_called_forwards_and_backwards():
  kernel, gain, cotangent = draw(SHAPES[0])
  program = jax.jit(lambda *x: gradient(RULES[0], *x)).lower(kernel, gain, cotangent).as_text()
  assert program.count('custom_call @nfnets_standardization_gradient(') == 1
  program = compiled(RULES[0]).lower(kernel, gain).as_text()
  assert program.count('custom_call @nfnets_standardization(') == 1


def test_other_dtypes_are_left_to_xla():
  kernel, gain, _ = draw(SHAPES[0])
  half = Standardization(dtype='bfloat16')
  assert 'nfnets' not in compiled(half).lower(kernel, gain).as_text()
  lower = compiled(RULES[0]).lower(jnp.bfloat16(kernel), jnp.bfloat16(gain))
  assert 'nfnets' not in lower.as_text()


def test_programs_for_others_do_without():
  kernel, gain, _ = draw(SHAPES[0])
  exported = jax.export.export(compiled(RULES[0]))(kernel, gain)
  assert 'custom_call @nfnets' not in exported.mlir_module()
  close(exported.call(kernel, gain), RULES[0].plain(kernel, gain))


def test_many_kernels_at_once():
  kernel, gain, cotangent = draw((4, 3, 3, 8, 16))
  gain = jnp.stack([gain * i for i in range(1, 5)])
  rule = RULES[0]
  mapped = compiled(jax.vmap(rule))(kernel, gain)
  close(mapped, jax.vmap(rule.plain)(kernel, gain))
  slopes, plain = (
    jax.jit(jax.vmap(lambda *x, form=form: gradient(form, *x)))(kernel, gain, cotangent)
    for form in (rule, rule.plain)
  )
  jax.tree.map(close, slopes, plain)


@pytest.mark.parametrize('check', [False, True])
def test_inside_of_shard_map(check):
  kernel, gain, _ = draw(SHAPES[0])
  images = jnp.arange(2.0)
  mesh = jax.make_mesh((2,), ('i',), axis_types=(jax.sharding.AxisType.Auto,))
  P = jax.sharding.PartitionSpec

  def loss(kernel, gain, images, function):
    return jnp.sum(jnp.sin(function(kernel, gain) + images))

  def mapped(function):
    slope = jax.grad(lambda k, g, x: loss(k, g, x, function), (0, 1))
    along = P('i')
    return jax.jit(
      jax.shard_map(
        lambda k, g, x: jax.tree.map(lambda y: jnp.atleast_2d(y)[None], slope(k, g, x)),
        mesh=mesh,
        in_specs=(P(), P(), along),
        out_specs=P() if check else along,
        check_vma=check,
      )
    )(kernel, gain, images)

  jax.tree.map(close, mapped(RULES[0]), mapped(RULES[0].plain))
