"""A convolution with bias and nonlinearity is the three one after the other, on every path."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.models.activated_convolution import ACTIVATED, convolve_activated
from nfnets.models.activations import ACTIVATIONS
from nfnets.models.convolution import convolve

FINISHED = ('relu', 'silu', 'gelu')
"""Nonlinearities that there are kernels for."""

# image [N, H, W, C], kernel [h, w, C / groups, out], stride, groups
SHAPES = [
  ((2, 7, 5, 64), (3, 3, 32, 64), 1, 2),  # in Winograd's way
  ((2, 7, 6, 56), (3, 3, 8, 56), 1, 7),  # narrow groups, several at a time
  ((2, 12, 11, 3), (3, 3, 3, 36), 2, 1),
  ((1, 67, 30, 8), (5, 3, 8, 19), 1, 1),  # bands of rows, and a vector that is not whole
  ((2, 7, 5, 9), (3, 3, 9, 11), 3, 1),
  ((2, 7, 5, 6), (1, 1, 6, 4), 1, 1),  # products
  ((1, 13, 17, 300), (1, 1, 300, 70), 1, 1),
  ((2, 5, 5, 33), (1, 1, 33, 290), 2, 1),
  ((2, 7, 5, 6), (3, 3, 6, 7), 1, 1),  # without a kernel
]


def draw(image, kernel):
  rng = np.random.default_rng(0)
  shapes = image, kernel, kernel[3:]
  x, k, bias = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
  return x, 2 * k / np.prod(kernel[:3]) ** 0.5, bias


def both(name, stride, groups, symmetric=False):
  """As one function, and one after the other."""
  activation = ACTIVATIONS[name].function
  window = {'stride': stride, 'groups': groups, 'symmetric_padding': symmetric}
  return (
    lambda x, kernel, bias: convolve_activated(x, kernel, bias, activation, **window),
    lambda x, kernel, bias: activation(convolve(x, kernel, **window) + bias),
  )


def close(actual, expected, atol=3e-6):
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    scale = np.max(np.abs(b))
    np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=atol)


def made(program, *operands):
  return jax.jit(program).lower(*operands).as_text()


@pytest.mark.usefixtures('kernels')
@pytest.mark.parametrize('symmetric', [False, True])
@pytest.mark.parametrize('name', FINISHED)
@pytest.mark.parametrize(('image', 'kernel', 'stride', 'groups'), SHAPES)
def test_results_and_gradients_are_those_of_the_three(
  image, kernel, stride, groups, name, symmetric
):
  operands = draw(image, kernel)
  ours, apart = both(name, stride, groups, symmetric)
  close(jax.jit(ours)(*operands), jax.jit(apart)(*operands))
  gradients = [
    jax.jit(jax.grad(lambda *operands, f=f: jnp.sum(jnp.sin(f(*operands))), (0, 1, 2)))
    for f in (ours, apart)
  ]
  close(*(gradient(*operands) for gradient in gradients))


@pytest.mark.usefixtures('kernels')
@pytest.mark.parametrize('name', FINISHED)
def test_nonlinearities_are_exact_wherever_they_are_computed(name):
  x = np.concatenate([np.linspace(-120, 120, 4801), [-3e38, 3e38, 1e-30, np.nan]])
  pixels = np.broadcast_to(np.float32(x)[None, None, :, None], (1, 1, len(x), 8))
  identity, nothing = np.eye(8, dtype=np.float32)[None, None], np.zeros(8, np.float32)
  result = jax.jit(both(name, 1, 1)[0])(pixels, identity, nothing)
  with jax.enable_x64(True):
    exact = ACTIVATIONS[name].function.function(x) if name != 'relu' else jax.nn.relu(x)
    exact = np.asarray(exact)
  assert np.isnan(result[..., -1, :]).all()
  np.testing.assert_allclose(result[0, 0, :-1, 3], exact[:-1], rtol=2e-6, atol=1e-12)


@pytest.mark.usefixtures('kernels')
def test_which_have_kernels():
  shapes = {
    'nfnets_activated_convolution': SHAPES[0],
    'nfnets_activated_product': SHAPES[5],
    'nfnets': SHAPES[8],
  }
  for target, (image, kernel, stride, groups) in shapes.items():
    ours, _ = both('silu', stride, groups)
    assert (f'@{target}' in made(ours, *draw(image, kernel))) == (target != 'nfnets')
    others, _ = both('elu', stride, groups)
    assert 'nfnets_activated' not in made(others, *draw(image, kernel))
    half = [jnp.bfloat16(x) for x in draw(image, kernel)]
    assert '@nfnets' not in made(ours, *half)


@pytest.mark.usefixtures('kernels')
def test_what_is_differentiated_is_the_three_and_keeps_what_lies_between():
  image, kernel, stride, groups = SHAPES[0]
  ours, apart = both('gelu', stride, groups)

  def program(function):
    moved = jax.grad(lambda *operands: jnp.sum(function(*operands)), (0, 1, 2))
    return str(jax.make_jaxpr(moved)(*draw(image, kernel)))

  assert ACTIVATED not in program(ours)
  assert program(ours) == program(apart)


@pytest.mark.usefixtures('kernels')
def test_programs_for_others_do_without():
  image, kernel, stride, groups = SHAPES[0]
  operands = draw(image, kernel)
  ours, apart = both('relu', stride, groups)
  exported = jax.export.export(jax.jit(ours))(*operands)
  assert 'custom_call @nfnets' not in exported.mlir_module()
  close(exported.call(*operands), apart(*operands))


def test_without_kernels_and_for_several_at_a_time():
  image, kernel, stride, groups = SHAPES[1]
  x, k, bias = draw(image, kernel)
  ours, apart = both('silu', stride, groups)
  close(jax.jit(ours)(x, k, bias), apart(x, k, bias))
  several = jax.vmap(ours, (None, 0, None))(x, np.stack([k, 2 * k]), bias)
  close(several[1], apart(x, 2 * k, bias))
  exact = jax.jvp(lambda k: jax.grad(lambda k: jnp.sum(ours(x, k, bias) ** 2))(k), (k,), (k,))[1]
  close(exact, jax.jvp(jax.grad(lambda k: jnp.sum(apart(x, k, bias) ** 2)), (k,), (k,))[1], 1e-5)
