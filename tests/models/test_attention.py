"""Channel attention against NumPy."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.models.attention import EfficientChannelAttention, SqueezeExcite


def normal(*shape):
  return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def apply(make, params, x):
  return hk.transform(lambda x: make()(x)).apply(params, None, x)


@pytest.mark.parametrize('gain', [1.0, 2.0])
def test_a_channels_gate_follows_from_its_neighbours(gain):
  x, kernel = normal(2, 3, 4, 8), normal(3)
  params = {'efficient_channel_attention': {'w': kernel}}
  y = apply(lambda: EfficientChannelAttention(8, gain=gain), params, x)
  padded = np.pad(x.mean((1, 2)), ((0, 0), (1, 1)))
  mixed = sum(kernel[i] * padded[:, i : i + 8] for i in range(3))
  expected = x * gain / (1 + np.exp(-mixed))[:, None, None, :]
  np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  # arXiv 1910.03151, section 3.2: log2(C) / 2 + 1/2, made odd; 3 at least.
  ('channels', 'size'),
  [(8, 3), (32, 3), (96, 3), (128, 5), (256, 5), (512, 5), (1536, 5), (2048, 7)],
)
def test_wider_networks_have_longer_kernels(channels, size):
  network = hk.transform(lambda x: EfficientChannelAttention(channels)(x))
  image = jax.ShapeDtypeStruct((1, 2, 2, channels), jnp.float32)
  params = jax.eval_shape(network.init, jax.random.key(0), image)
  assert params['efficient_channel_attention']['w'].shape == (size,)


def test_squeeze_excite_can_be_told_its_hidden_units():
  network = hk.transform(lambda x: SqueezeExcite(20, 0.25, hidden=8)(x))
  params = network.init(jax.random.key(0), normal(1, 2, 2, 20))
  assert params['squeeze_excite/~/linear']['w'].shape == (20, 8)
