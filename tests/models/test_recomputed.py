"""What is computed again for its gradient: the same results, and nothing kept but the input."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import nn

from nfnets.models.activations import ACTIVATIONS
from nfnets.models.recomputed import Recomputed

FUNCTIONS = {
  'gelu': functools.partial(nn.gelu, approximate=True),
  'gelu_exact': functools.partial(nn.gelu, approximate=False),
  'silu': nn.silu,
  'celu': nn.celu,
  'selu': nn.selu,
  'softplus': nn.softplus,
}
X = jnp.asarray(np.random.default_rng(0).standard_normal((3, 5, 7), dtype=np.float32) * 3)
WEIGHTS = jnp.cos(7 * X)


def close(actual, expected):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6), actual, expected
  )


def both(function, dtype='float32'):
  """Result and gradient."""
  y, transpose = jax.vjp(function, X.astype(dtype))
  return y, *transpose(WEIGHTS.astype(dtype))


@pytest.mark.parametrize('name', FUNCTIONS)
def test_results_and_gradients_are_those_of_the_function(name):
  close(both(Recomputed(FUNCTIONS[name])), both(FUNCTIONS[name]))


@pytest.mark.parametrize('name', FUNCTIONS)
def test_in_bfloat16_they_are_as_exact_as_those_of_the_function(name):
  exact = both(FUNCTIONS[name])
  ours, plain = (both(f, 'bfloat16') for f in (Recomputed(FUNCTIONS[name]), FUNCTIONS[name]))
  for y, other, right in zip(ours, plain, exact, strict=True):
    assert y.dtype == other.dtype == jnp.bfloat16
    error, allowed = (np.sqrt(np.mean((np.float32(z) - right) ** 2)) for z in (y, other))
    assert error < 1.1 * allowed


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_slopes_of_the_table_are_those_of_the_functions(name):
  """Those that have another form too, and where they are flat."""
  x = jnp.linspace(-30.1, 30, 241)
  ours = jax.jit(jax.vjp(ACTIVATIONS[name].function, x)[1])(jnp.ones_like(x))[0]
  known = getattr(ACTIVATIONS[name].function, 'function', ACTIVATIONS[name].function)
  with jax.enable_x64(True):
    exact = np.asarray(jax.vmap(jax.grad(known))(jnp.asarray(np.float64(x))))
  np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize('name', FUNCTIONS)
def test_derivatives_go_on(name):
  def curved(function, x):
    return jnp.vdot(jnp.sin(function(x)), WEIGHTS)

  def forward(function):
    return jax.jvp(jax.jit(function), (X,), (WEIGHTS,))

  def curvature(function):
    slope = jax.jit(jax.grad(functools.partial(curved, function)))
    return jax.jvp(slope, (X,), (WEIGHTS,))

  def twice(function):
    slope = jax.grad(functools.partial(curved, function))
    return jax.jit(jax.grad(lambda x: jnp.vdot(slope(x), WEIGHTS)))(X)

  for derivative in (forward, curvature, twice):
    close(derivative(Recomputed(FUNCTIONS[name])), derivative(FUNCTIONS[name]))


def test_integers_and_plain_numbers_are_taken_too():
  function = jax.jit(Recomputed(nn.silu))
  for x in (3, 3.0, np.int8(3), np.float32(3), jnp.int32(3)):
    assert function(x).dtype == jnp.float32
    np.testing.assert_allclose(function(x), nn.silu(3.0), rtol=1e-6)
  assert function(jnp.bfloat16(3)).dtype == jnp.bfloat16


def test_nothing_is_kept_but_the_input():
  def kept(function):
    _, transpose = jax.vjp(lambda x: function(x) * 2, X)
    return [leaf for leaf in jax.tree.leaves(transpose) if jnp.size(leaf) == X.size]

  assert len(kept(nn.silu)) > 1
  (only,) = kept(Recomputed(nn.silu))
  np.testing.assert_array_equal(only, X)


def test_mapped_over_any_axes():
  function = Recomputed(nn.silu)
  slopes = jax.vmap(jax.vmap(jax.grad(function)), in_axes=1, out_axes=1)
  close(jax.vmap(slopes)(X), jax.vmap(jax.vmap(jax.vmap(jax.grad(nn.silu))))(X))
  _, moved = jax.vmap(lambda t: jax.jvp(function, (X,), (t,)), in_axes=2)(
    jnp.stack([X, WEIGHTS], 2)
  )
  close(moved[1], jax.jvp(nn.silu, (X,), (WEIGHTS,))[1])


@pytest.mark.parametrize('check', [False, True])
def test_inside_of_shard_map(check):
  mesh = jax.make_mesh((3,), ('i',), axis_types=(jax.sharding.AxisType.Auto,))
  along = jax.sharding.PartitionSpec('i')

  def slopes(function):
    mapped = jax.shard_map(
      lambda x, shift: jax.grad(lambda x: jnp.sum(jnp.sin(function(x + shift))))(x),
      mesh=mesh,
      in_specs=(along, jax.sharding.PartitionSpec()),
      out_specs=along,
      check_vma=check,
    )
    return jax.jit(mapped)(X, jnp.float32(0.5))

  close(slopes(Recomputed(nn.silu)), slopes(nn.silu))


def test_compilers_keep_nothing_either_but_on_tpus():
  """They would find the same operations forwards and backwards, and do them once."""
  slope = jax.jit(lambda x: jax.vjp(Recomputed(nn.silu), x)[1](x))
  barriers = {
    platform: slope.trace(X)
    .lower(lowering_platforms=(platform,))
    .as_text()
    .count('optimization_barrier')
    for platform in ('cpu', 'cuda', 'tpu')
  }
  assert barriers == {'cpu': 1, 'cuda': 1, 'tpu': 0}


def test_exported_programs_need_nothing_of_ours():
  slope = jax.jit(jax.grad(lambda x: jnp.sum(Recomputed(nn.silu)(x))))
  exported = jax.export.export(slope)(X)
  assert 'custom_call' not in exported.mlir_module()
  close(exported.call(X), jax.grad(lambda x: jnp.sum(nn.silu(x)))(X))
