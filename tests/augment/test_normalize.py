import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.augment.normalize import normalize

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_each_channel_has_its_own_mean_and_deviation(dtype):
  pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype(dtype)
  expected = (pixels.astype(np.float64) - MEAN) / STD
  got = normalize(jnp.asarray(pixels), MEAN, STD, 'float32')
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_grey_is_the_luminance_of_pixels_means_and_deviations():
  pixels = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3))
  weights = np.array([0.299, 0.587, 0.114])
  expected = (pixels @ weights - np.dot(MEAN, weights)) / np.dot(STD, weights)
  got = normalize(jnp.asarray(pixels), MEAN, STD, 'float32', grey=True)
  assert got.shape == (2, 5, 4, 1)
  np.testing.assert_allclose(got[..., 0], expected, rtol=1e-5, atol=1e-5)


def test_grey_images_have_the_brightness_they_had():
  grey = jnp.asarray(np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 1)))
  got = normalize(jnp.repeat(grey, 3, axis=-1), (80.0,) * 3, (60.0,) * 3, 'float32', grey=True)
  np.testing.assert_allclose(got, normalize(grey, (80.0,), (60.0,), 'float32'), atol=1e-5)


def test_unclamped_pixels_keep_what_lies_outside_the_range():
  # Bicubic evaluation images overshoot; as bytes they would wrap or clip.
  pixels = jnp.array([[[[-12.5, 270.25, 300.0]]]])
  assert jnp.array_equal(
    normalize(pixels, (0.0,) * 3, (2.0,) * 3, 'float32'), [[[[-6.25, 135.125, 150.0]]]]
  )


def test_bfloat16_is_rounded_once_at_the_end():
  pixels = jnp.linspace(-3.7, 261.3, 256).reshape(1, 16, 16, 1)  # bytes would be exact anyway
  exact = normalize(pixels, (127.3,), (0.7,), 'float32')
  rounded = jax.jit(lambda x: normalize(x, (127.3,), (0.7,), jnp.bfloat16))(pixels)
  assert rounded.dtype == jnp.bfloat16
  np.testing.assert_array_equal(rounded, exact.astype(jnp.bfloat16))
