"""The forms of a convolution give one result, and each platform gets its own form."""

import jax
import jax.export
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
  ((2, 7, 6, 5), (1, 1, 5, 3), 3, 1),
  # wide enough for Winograd's way, and where it is refused by the stride
  ((2, 7, 5, 128), (3, 3, 64, 160), 1, 2),
  ((1, 1, 2, 65), (3, 3, 65, 64), 1, 1),
  ((2, 6, 5, 128), (3, 3, 64, 128), 2, 2),
  ((1, 4, 3, 33), (5, 1, 33, 65), 1, 1),
  # narrow groups, several at once; their number is no multiple of what is computed together
  ((2, 5, 4, 56), (3, 3, 8, 56), 1, 7),
  ((2, 6, 5, 40), (3, 3, 8, 80), 2, 5),
]
WINOGRAD = [((2, 7, 5, 128), (3, 3, 64, 160), 1, 2), ((1, 1, 2, 65), (3, 3, 65, 64), 1, 1)]


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


@pytest.mark.parametrize(
  ('image', 'kernel', 'stride', 'groups', 'convolutions', 'products'),
  [
    ((2, 7, 5, 6), (1, 1, 6, 4), 1, 1, 0, 1),  # a matrix product
    ((2, 7, 5, 6), (1, 1, 6, 4), 2, 1, 0, 1),
    ((2, 7, 5, 6), (3, 3, 6, 4), 1, 1, 1, 0),
    ((2, 5, 4, 56), (3, 3, 8, 56), 1, 7, 2, 0),  # four narrow groups at once, then three
    ((2, 6, 5, 128), (3, 3, 64, 128), 2, 2, 2, 0),  # wide groups one by one
    ((2, 7, 5, 128), (3, 3, 64, 160), 1, 2, 0, 16),  # Winograd's way
  ],
)
def test_the_cpu_gets_the_form_of_its_kind(image, kernel, stride, groups, convolutions, products):
  program = lowered('cpu', image, kernel, stride, groups)
  assert program.count('stablehlo.convolution') == convolutions
  assert program.count('stablehlo.dot_general') == products


def test_winograds_way_is_not_taken_in_bfloat16():
  image, kernel, stride, groups = WINOGRAD[0]
  x, k, cotangent = (jnp.asarray(a, jnp.bfloat16) for a in draw(image, kernel, stride))

  def ours(x, k):
    return convolve(x, k, stride=stride, groups=groups)

  def theirs(x, k):
    return direct(x, k, stride, groups)

  # Sums of 64 x 9 products of rounded numbers: the order of the sum shows in the last bits.
  for function in (lambda f: f(x, k), lambda f: jax.vjp(f, x, k)[1](cotangent)):
    for actual, wanted in zip(
      jax.tree.leaves(function(ours)), jax.tree.leaves(function(theirs)), strict=True
    ):
      actual, wanted = (np.asarray(a, np.float32) for a in (actual, wanted))
      scale = np.max(np.abs(wanted))
      np.testing.assert_allclose(actual / scale, wanted / scale, rtol=0, atol=2**-8)


@pytest.mark.parametrize(
  ('image', 'kernel', 'stride', 'groups'),
  [shape for shape in SHAPES if shape[1][0] % 2 == shape[1][1] % 2 == 1],
)
def test_symmetric_padding_has_the_gradients_of_the_direct_one(image, kernel, stride, groups):
  x, k, _ = draw(image, kernel, stride)
  sides = [(side // 2, side // 2) for side in kernel[:2]]

  def theirs(x, k):
    return lax.conv_general_dilated(
      x,
      k,
      (stride, stride),
      sides,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=groups,
    )

  def ours(x, k):
    return convolve(x, k, stride=stride, groups=groups, symmetric_padding=True)

  wanted, transpose = jax.vjp(theirs, x, k)
  actual, our_transpose = jax.vjp(ours, x, k)
  close(np.asarray(actual), np.asarray(wanted))
  cotangent = np.random.default_rng(1).standard_normal(wanted.shape, dtype=np.float32)
  for a, b in zip(our_transpose(cotangent), transpose(cotangent), strict=True):
    close(np.asarray(a), np.asarray(b))


def curved(function):
  """A scalar of image and kernel that is linear in neither."""
  return lambda x, k: jnp.sum(jnp.sin(function(x, k)) * jnp.cos(jnp.sum(k)))


@pytest.mark.parametrize(('image', 'kernel', 'stride', 'groups'), [SHAPES[5], WINOGRAD[1]])
def test_it_is_differentiated_forwards_backwards_and_twice(image, kernel, stride, groups):
  x, k, _ = draw(image, kernel, stride)
  ours = curved(lambda x, k: convolve(x, k, stride=stride, groups=groups))
  theirs = curved(lambda x, k: direct(x, k, stride, groups))
  rng = np.random.default_rng(1)
  directions = tuple(rng.standard_normal(a.shape, dtype=np.float32) for a in (x, k))

  def along(function):
    """The curvature in one direction: reverse mode, then forward mode, then both backwards."""
    gradient = jax.grad(function, (0, 1))
    forwards = jax.jvp(gradient, (x, k), directions)[1]
    backwards = jax.vjp(gradient, x, k)[1](directions)
    return jax.tree.leaves((forwards, backwards))

  for a, b in zip(along(ours), along(theirs), strict=True):
    close(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize('axes', [(0, None), (None, 0), (1, 2)])
@pytest.mark.parametrize(('image', 'kernel', 'stride', 'groups'), [SHAPES[5], WINOGRAD[0]])
def test_it_is_mapped_over_images_and_kernels(image, kernel, stride, groups, axes):
  x, k, _ = draw(image, kernel, stride)
  x, k = (
    a if axis is None else np.stack([a, 2 * a, -a], axis)
    for a, axis in zip((x, k), axes, strict=True)
  )
  ours = jax.vmap(lambda x, k: convolve(x, k, stride=stride, groups=groups), axes)
  theirs = jax.vmap(lambda x, k: direct(x, k, stride, groups), axes)
  close(np.asarray(ours(x, k)), np.asarray(theirs(x, k)))
  gradients = jax.grad(lambda x: jnp.sum(jnp.sin(ours(x, k))))(x)
  close(np.asarray(gradients), np.asarray(jax.grad(lambda x: jnp.sum(jnp.sin(theirs(x, k))))(x)))


@pytest.mark.parametrize('sizes', ['n, 7, 5', 'n, h, w'])
def test_it_is_exported_for_batches_and_images_of_any_size(sizes):
  image, kernel, stride, groups = WINOGRAD[0]
  x, k, _ = draw(image, kernel, stride)
  shape = jax.export.symbolic_shape(f'{sizes}, {image[-1]}')
  exported = jax.export.export(jax.jit(lambda x: convolve(x, k, stride=stride, groups=groups)))(
    jax.ShapeDtypeStruct(shape, jnp.float32)
  )
  close(np.asarray(exported.call(x)), np.asarray(direct(x, k, stride, groups)))


def test_it_is_differentiated_inside_shard_map_with_and_without_its_checks():
  image, kernel, stride, groups = WINOGRAD[0]
  x, k, _ = draw(image, kernel, stride)
  k /= (
    np.prod(kernel[:3]) ** 0.5
  )  # results near 1, for a sine magnifies what is uncertain in large ones
  everywhere = jax.sharding.PartitionSpec()
  mesh = jax.make_mesh((1,), ('i',), axis_types=(jax.sharding.AxisType.Auto,))
  gradient = jax.grad(lambda x, k: jnp.sum(jnp.sin(convolve(x, k, groups=groups))), 1)
  wanted = jax.grad(lambda x, k: jnp.sum(jnp.sin(direct(x, k, stride, groups))), 1)(x, k)
  for check in (False, True):
    mapped = jax.shard_map(
      gradient,
      mesh=mesh,
      in_specs=(jax.sharding.PartitionSpec('i'), everywhere),
      out_specs=everywhere,
      check_vma=check,
    )
    close(np.asarray(jax.jit(mapped)(x, k)), np.asarray(wanted))


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
