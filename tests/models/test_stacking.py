"""Stacking is that of `jnp.stack`, in both forms, and so are its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.models.stacking import stack, unstack


@pytest.fixture(params=['plain', 'kernels'])
def form(request):
  if request.param == 'kernels':
    request.getfixturevalue('kernels')
  return request.param


def compiled(function):
  """Anew: what `jax.jit` compiled of a function stays as it is, kernels or not."""
  return jax.jit(lambda *x: function(*x))


def arrays(shape, dtype=np.float32):
  rng = np.random.default_rng(0)
  return [jnp.asarray(100 * rng.standard_normal(shape), dtype) for _ in range(3)]


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'int32', 'bool'])
@pytest.mark.parametrize('shape', [(), (5,), (3, 1, 7), (300, 301), (0, 2)], ids=str)
def test_what_is_stacked_can_be_taken_apart(form, shape, dtype):
  each = arrays(shape, dtype)
  stacked = compiled(stack)(each)
  np.testing.assert_array_equal(stacked, jnp.stack(each))
  assert stacked.dtype == dtype
  for part, x in zip(compiled(unstack)(stacked), each, strict=True):
    np.testing.assert_array_equal(part, x)


def test_each_is_one_operation(form):
  calls = {'plain': 0, 'kernels': 1}[form]
  each = arrays((3, 4))
  assert compiled(stack).lower(each).as_text().count('custom_call @nfnets_stack') == calls
  program = compiled(unstack).lower(jnp.stack(each)).as_text()
  assert program.count('custom_call @nfnets_unstack') == calls


def test_derivatives_of_a_stack(form):
  each, weights = arrays((3, 4)), jnp.stack(arrays((3, 4))[::-1])

  def loss(each, function):
    return jnp.sum(jnp.sin(function(each)) * weights)

  ours = jax.jit(jax.grad(lambda x: loss(x, stack)))(each)
  jax.tree.map(np.testing.assert_allclose, ours, jax.grad(lambda x: loss(x, jnp.stack))(each))
  some = jax.jit(jax.grad(lambda x: loss([each[0], x, each[2]], stack)))(each[1])
  np.testing.assert_allclose(some, ours[1])
  moved = jax.jit(lambda x: jax.jvp(stack, (x,), (each[::-1],)))(each)
  jax.tree.map(np.testing.assert_array_equal, moved, (jnp.stack(each), jnp.stack(each[::-1])))


def test_derivatives_of_what_is_taken_apart(form):
  stacked = jnp.stack(arrays((3, 4)))

  def loss(stacked, function):
    first, second, _ = function(stacked)  # nothing follows from the third
    return jnp.sum(jnp.sin(first) * second)

  ours = jax.jit(jax.grad(lambda x: loss(x, unstack)))(stacked)
  np.testing.assert_allclose(ours, jax.grad(lambda x: loss(x, jnp.unstack))(stacked))


def test_many_stacks_at_once(form):
  each = arrays((6, 4))
  stacked = compiled(jax.vmap(stack))(each)
  np.testing.assert_array_equal(stacked, jnp.stack(each, axis=1))
  for part, x in zip(compiled(jax.vmap(unstack))(stacked), each, strict=True):
    np.testing.assert_array_equal(part, x)
