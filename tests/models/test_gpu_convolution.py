"""GPUs are given the gradient of a strided convolution in groups in blocks of pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.models import direct_convolution, gpu_convolution
from nfnets.models.convolution import convolve
from nfnets.models.windows import Window

IN, OUT = 3, 5  # channels of one group


def draw(window):
  rng = np.random.default_rng(0)
  cotangent = rng.standard_normal((2, *window.output, window.groups * OUT), dtype=np.float32)
  kernel = rng.standard_normal((*window.kernel, IN, window.groups * OUT), dtype=np.float32)
  return jnp.asarray(cotangent), jnp.asarray(kernel)


@pytest.mark.parametrize('symmetric', [False, True])
@pytest.mark.parametrize('stride', [1, 2, 3])
@pytest.mark.parametrize('kernel', [(3, 3), (5, 1), (1, 1), (7, 7)], ids=str)
@pytest.mark.parametrize('image', [(8, 8), (7, 9), (5, 12), (2, 3), (1, 1)], ids=str)
def test_it_is_that_of_the_direct_form(image, kernel, stride, symmetric):
  window = Window(image=image, kernel=kernel, stride=stride, groups=2, symmetric_padding=symmetric)
  cotangent, weights = draw(window)
  expected = direct_convolution.input_gradient(cotangent, weights, window=window)
  actual = gpu_convolution.input_gradient(cotangent, weights, window=window)
  scale = np.max(np.abs(expected))
  np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=1e-5)


def gradient(groups):
  """By images [N, H, W, 6] of the sum over what a convolution with stride 2 makes of them."""
  kernel = jnp.ones((3, 3, 6 // groups, 12))
  return jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(convolve(x, kernel, stride=2, groups=groups)))))


@pytest.mark.parametrize(
  ('platform', 'groups', 'spread'),
  [('cuda', 1, True), ('cuda', 3, False), ('rocm', 3, False), ('tpu', 3, True)],
)
def test_no_image_full_of_zeros_is_convolved(platform, groups, spread):
  program = gradient(groups).trace(jnp.ones((2, 8, 7, 6))).lower(lowering_platforms=(platform,))
  dilated = 'lhs_dilate = [2, 2]' in program.as_text()
  assert dilated == spread  # of one group it is what GPUs have a kernel for
