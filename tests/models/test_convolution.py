"""The forms of a convolution give one result, and each platform gets its own form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nfnets.models.convolution import convolve

# image [N, H, W, C], kernel [h, w, C / groups, out], stride, groups
SHAPES = [
  ((2, 7, 5, 6), (3, 3, 6, 4), 1, 1),
  ((2, 7, 6, 6), (3, 3, 6, 4), 2, 1),
  ((2, 7, 5, 6), (1, 1, 6, 4), 1, 1),
  ((2, 7, 5, 6), (1, 1, 6, 4), 2, 1),
  ((2, 7, 5, 6), (3, 3, 3, 4), 1, 2),
  ((2, 6, 5, 6), (3, 3, 2, 9), 2, 3),
  ((1, 1, 1, 6), (3, 3, 2, 6), 2, 3),
  ((2, 5, 7, 4), (1, 1, 1, 4), 1, 4),
  ((2, 5, 7, 4), (2, 5, 2, 4), 3, 2),
]


def draw(image, kernel, stride):
  """Images, kernel, and a cotangent of the output."""
  rng = np.random.default_rng(0)
  output = (image[0], -(-image[1] // stride), -(-image[2] // stride), kernel[3])
  return [rng.standard_normal(shape, dtype=np.float32) for shape in (image, kernel, output)]


def close(actual, expected):
  scale = np.max(np.abs(expected))
  np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=1e-5)


def by_definition(x, kernel, stride, groups):
  """The sum over the window, one output pixel after the other, in float64."""
  height, width, depth, outputs = kernel.shape
  rows, columns = (-(-size // stride) for size in x.shape[1:3])
  # 'SAME': what is missing is added on both sides, the odd pixel behind.
  missing = [
    max((n - 1) * stride + window - size, 0)
    for n, window, size in zip((rows, columns), (height, width), x.shape[1:3], strict=True)
  ]
  padded = np.pad(x, [(0, 0), *((n // 2, n - n // 2) for n in missing), (0, 0)])
  result = np.zeros((x.shape[0], rows, columns, outputs))
  per_group = outputs // groups
  for i, j, out in np.ndindex(rows, columns, outputs):
    channels = slice(out // per_group * depth, (out // per_group + 1) * depth)
    window = padded[:, i * stride : i * stride + height, j * stride : j * stride + width, channels]
    result[:, i, j, out] = np.einsum('nhwc,hwc->n', window, kernel[..., out], dtype=np.float64)
  return result


def direct(x, kernel, stride, groups):
  """XLA's own convolution."""
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    'SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


@pytest.mark.parametrize(('image', 'kernel', 'stride', 'groups'), SHAPES)
def test_every_form_follows_the_definition(image, kernel, stride, groups):
  x, k, _ = draw(image, kernel, stride)
  close(convolve(x, k, stride=stride, groups=groups), by_definition(x, k, stride, groups))


@pytest.mark.parametrize(('image', 'kernel', 'stride', 'groups'), SHAPES)
def test_every_form_has_the_gradients_of_the_direct_one(image, kernel, stride, groups):
  x, k, cotangent = draw(image, kernel, stride)

  def gradients(function):
    def loss(x, k):
      return jnp.sum(function(x, k) * cotangent)

    return jax.jit(jax.grad(loss, argnums=(0, 1)))(x, k)

  ours = gradients(lambda x, k: convolve(x, k, stride=stride, groups=groups))
  expected = gradients(lambda x, k: direct(x, k, stride, groups))
  for actual, wanted in zip(ours, expected, strict=True):
    close(np.asarray(actual), np.asarray(wanted))


def lowered(platform, image, kernel, stride, groups):
  """The program for a platform, whatever platform this is."""
  x, k = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (image, kernel))
  function = jax.jit(lambda x, k: convolve(x, k, stride=stride, groups=groups))
  return function.trace(x, k).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize('platform', ['tpu', 'cuda', 'rocm'])
@pytest.mark.parametrize(('image', 'kernel', 'stride', 'groups'), SHAPES)
def test_accelerators_get_one_convolution(platform, image, kernel, stride, groups):
  program = lowered(platform, image, kernel, stride, groups)
  assert program.count('stablehlo.convolution') == 1
  assert f'feature_group_count = {groups} ' in program
  assert 'dot_general' not in program


@pytest.mark.parametrize(('image', 'kernel', 'stride', 'groups'), SHAPES)
def test_the_cpu_gets_a_convolution_for_each_group_or_a_matrix_product(
  image, kernel, stride, groups
):
  program = lowered('cpu', image, kernel, stride, groups)
  pointwise = kernel[:2] == (1, 1) and stride == groups == 1
  assert program.count('stablehlo.convolution') == (0 if pointwise else groups)
  assert program.count('dot_general') == pointwise
  assert 'feature_group_count = 1 ' in program or pointwise


def grouped_gradients():
  """Gradients of a strided convolution of three groups, by image and kernel."""

  def loss(x, k, cotangent):
    return jnp.sum(convolve(x, k, stride=2, groups=3) * cotangent)

  return jax.jit(jax.grad(loss, argnums=(0, 1)))


@pytest.mark.parametrize('platform', ['tpu', 'cuda', 'rocm'])
def test_accelerators_get_grouped_convolutions_for_both_gradients(platform):
  traced = grouped_gradients().trace(*draw((2, 6, 5, 6), (3, 3, 2, 9), 2))
  program = traced.lower(lowering_platforms=(platform,)).as_text()
  assert program.count('stablehlo.convolution') == 2
  assert 'batch_group_count = 1 : i64, feature_group_count = 3 ' in program  # by the image
  assert 'batch_group_count = 3 : i64, feature_group_count = 1 ' in program  # by the kernel


def test_no_choice_of_platform_is_left_in_the_compiled_program():
  lowered = grouped_gradients().lower(*draw((2, 6, 5, 6), (3, 3, 2, 9), 2))
  program = lowered.compile().as_text()
  assert 'conditional' not in program


@pytest.mark.parametrize(('image', 'kernel', 'stride', 'groups'), SHAPES)
def test_the_dtype_of_the_images_is_kept(image, kernel, stride, groups):
  x, k = (jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in (image, kernel))
  output = jax.eval_shape(lambda x, k: convolve(x, k, stride=stride, groups=groups), x, k)
  assert output.dtype == jnp.bfloat16
