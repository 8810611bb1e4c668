"""The kernels for CPUs have the results of XLA's own convolution, in shapes odd and even."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from nfnets.models.convolution import convolve

pytestmark = pytest.mark.usefixtures('kernels')

# image [N, H, W, C], kernel [h, w, C / groups, out], stride, groups
WINOGRAD = [
  ((2, 7, 5, 64), (3, 3, 64, 64), 1, 1),
  ((1, 1, 1, 32), (3, 3, 32, 64), 1, 1),  # one tile, most of it outside
  ((3, 9, 8, 128), (3, 3, 64, 192), 1, 2),  # more tiles than are computed at a time
  ((1, 2, 3, 96), (3, 3, 32, 96), 1, 3),
]
DIRECT = [
  ((2, 7, 5, 16), (3, 3, 16, 24), 1, 1),
  ((2, 6, 5, 16), (3, 3, 8, 16), 2, 2),
  ((2, 7, 6, 56), (3, 3, 8, 56), 1, 7),
  ((2, 7, 6, 64), (3, 3, 32, 128), 2, 2),  # wide, but strided
  ((1, 1, 2, 16), (7, 7, 16, 16), 2, 1),  # a kernel larger than the image
  ((2, 12, 11, 24), (5, 3, 24, 40), 3, 1),
  ((1, 2, 2, 8), (1, 3, 8, 8), 4, 1),  # pixels that no window meets
  ((1, 5, 300, 64), (3, 3, 64, 8), 1, 1),  # rows one by one: a band holds no more
  ((1, 67, 30, 8), (3, 3, 8, 16), 1, 1),
  ((2, 7, 5, 12), (3, 3, 12, 12), 1, 1),  # channels that no panel divides
  ((2, 9, 7, 18), (3, 3, 9, 22), 2, 2),
  ((1, 6, 7, 45), (3, 3, 15, 75), 1, 3),  # more of them than a wide panel holds
  ((3, 11, 9, 3), (3, 3, 3, 36), 2, 1),  # images: fewer channels than are summed at once
  ((2, 8, 9, 4), (7, 7, 4, 32), 2, 1),
  ((1, 65, 90, 1), (5, 3, 1, 9), 1, 1),
  ((2, 5, 1, 7), (3, 5, 7, 13), 3, 1),
]
PRODUCTS = [
  ((2, 7, 5, 6), (1, 1, 6, 4), 1, 1),
  ((2, 7, 6, 5), (1, 1, 5, 3), 3, 1),
  ((1, 13, 17, 300), (1, 1, 300, 70), 1, 1),  # several blocks of every size, and what is over
  ((2, 5, 5, 33), (1, 1, 33, 290), 2, 1),
  ((1, 61, 90, 24), (1, 1, 24, 20), 1, 1),  # the sum over the pixels in parts
]
ALL = WINOGRAD + DIRECT + PRODUCTS
NOT_SERVED = [
  ((2, 7, 5, 6), (3, 3, 6, 7), 1, 1),  # fewer channels than eight
  ((2, 5, 7, 16), (1, 1, 4, 16), 1, 4),
]


def draw(image, kernel, stride):
  """Images, kernel, and a cotangent of the output."""
  rng = np.random.default_rng(0)
  output = (image[0], -(-image[1] // stride), -(-image[2] // stride), kernel[3])
  return [rng.standard_normal(shape, dtype=np.float32) for shape in (image, kernel, output)]


def close(actual, expected):
  actual, expected = np.asarray(actual), np.asarray(expected)
  scale = np.max(np.abs(expected))
  np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=3e-6)


def direct(x, kernel, stride, groups, padding='SAME'):
  """XLA's own convolution."""
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


def programs(function, cotangent):
  """What is computed of a convolution, each a program of its own."""
  return {
    'forward': jax.jit(function),
    'by image': jax.jit(lambda x, k: jax.vjp(lambda x: function(x, k), x)[1](cotangent)[0]),
    'by kernel': jax.jit(lambda x, k: jax.vjp(lambda k: function(x, k), k)[1](cotangent)[0]),
  }


@pytest.mark.parametrize('symmetric', [False, True])
@pytest.mark.parametrize(('image', 'kernel', 'stride', 'groups'), ALL)
def test_results_are_those_of_xla(image, kernel, stride, groups, symmetric):
  x, k, cotangent = draw(image, kernel, stride)
  padding = [(side // 2, side // 2) for side in kernel[:2]] if symmetric else 'SAME'

  def ours(x, k):
    return convolve(x, k, stride=stride, groups=groups, symmetric_padding=symmetric)

  def theirs(x, k):
    return direct(x, k, stride, groups, padding)

  wanted = programs(theirs, cotangent)
  for what, program in programs(ours, cotangent).items():
    close(program(x, k), wanted[what](x, k))


@pytest.mark.parametrize('what', ['forward', 'by image', 'by kernel'])
@pytest.mark.parametrize(
  ('shape', 'called'),
  [
    *[(shape, 'nfnets_convolution') for shape in (WINOGRAD[0], DIRECT[0], DIRECT[2], DIRECT[10])],
    (PRODUCTS[1], '_product'),
    *[(shape, None) for shape in NOT_SERVED],
  ],
)
def test_which_convolutions_have_kernels(shape, called, what):
  image, kernel, stride, groups = shape
  x, k, cotangent = draw(image, kernel, stride)
  function = programs(lambda x, k: convolve(x, k, stride=stride, groups=groups), cotangent)[what]
  program = function.lower(x, k).as_text()
  assert program.count('custom_call @nfnets') == (called is not None)
  assert (called or '') in program


def test_other_dtypes_are_left_to_xla():
  image, kernel, stride, groups = WINOGRAD[0]
  x, k, _ = draw(image, kernel, stride)
  function = jax.jit(lambda x, k: convolve(x, k, stride=stride, groups=groups))
  assert 'nfnets' not in function.lower(jnp.bfloat16(x), jnp.bfloat16(k)).as_text()


@pytest.mark.parametrize('size', [1, 3])
def test_no_images_have_no_result(size):
  x, k = jnp.zeros((0, 6, 6, 8)), jnp.ones((size, size, 8, 8))
  result, transpose = jax.vjp(jax.jit(lambda x, k: convolve(x, k)), x, k)
  assert result.shape == (0, 6, 6, 8)
  by_image, by_kernel = transpose(result)
  assert by_image.shape == x.shape
  np.testing.assert_array_equal(by_kernel, np.zeros(k.shape))


@pytest.mark.parametrize('shape', [WINOGRAD[0], PRODUCTS[0]])
def test_programs_for_others_do_without(shape):
  image, kernel, stride, groups = shape
  x, k, _ = draw(image, kernel, stride)
  function = jax.jit(lambda x, k: convolve(x, k, stride=stride, groups=groups))
  exported = jax.export.export(function)(x, k)
  assert 'custom_call @nfnets' not in exported.mlir_module()
  close(exported.call(x, k), direct(x, k, stride, groups))


@pytest.mark.parametrize('shape', [WINOGRAD[0], DIRECT[1], PRODUCTS[0]])
def test_derivatives_go_on(shape):
  image, kernel, stride, groups = shape
  x, k, _ = draw(image, kernel, stride)
  k /= np.prod(kernel[:3]) ** 0.5  # results near 1: a sine magnifies what is uncertain in others

  def curvature(function):
    gradient = jax.grad(lambda x, k: jnp.sum(jnp.sin(function(x, k))), (0, 1))
    return jax.jit(lambda x, k: jax.jvp(gradient, (x, k), (k.sum() * jnp.ones_like(x), k))[1])

  ours = curvature(lambda x, k: convolve(x, k, stride=stride, groups=groups))(x, k)
  theirs = curvature(lambda x, k: direct(x, k, stride, groups))(x, k)
  for actual, wanted in zip(ours, theirs, strict=True):
    scale = np.max(np.abs(wanted))
    np.testing.assert_allclose(actual / scale, wanted / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize('check', [False, True])
def test_inside_of_shard_map(check):
  image, kernel, stride, groups = WINOGRAD[0]
  x, k, _ = draw(image, kernel, stride)
  mesh = jax.make_mesh((2,), ('i',), axis_types=(jax.sharding.AxisType.Auto,))
  along = jax.sharding.PartitionSpec('i')
  mapped = jax.shard_map(
    lambda x, k: convolve(x, k, stride=stride, groups=groups),
    mesh=mesh,
    in_specs=(along, jax.sharding.PartitionSpec()),
    out_specs=along,
    check_vma=check,
  )
  close(jax.jit(mapped)(x, k), direct(x, k, stride, groups))


def gradients_of_all():
  """Of convolutions of all kinds by image and kernel, as bytes; those that have kernels."""
  digest = hashlib.sha256()
  for image, kernel, stride, groups in ALL:
    x, k, cotangent = draw(image, kernel, stride)

    def ours(x, k, stride=stride, groups=groups):
      return convolve(x, k, stride=stride, groups=groups)

    for program in programs(ours, cotangent).values():
      if 'custom_call @nfnets' in program.lower(x, k).as_text():
        digest.update(np.asarray(program(x, k)).tobytes())
  return digest.hexdigest()


ON_ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import test_native_convolution as tests
from nfnets.native import use_kernels
assert use_kernels()
print(tests.gradients_of_all())
"""


@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='cores cannot be chosen')
def test_the_number_of_cores_changes_no_bit():
  paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
  done = subprocess.run(
    [sys.executable, '-c', ON_ONE_CORE],
    env=os.environ | {'PYTHONPATH': paths},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == gradients_of_all()
