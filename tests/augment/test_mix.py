"""MixUp and CutMix: shares are drawn as they should, and labels follow the pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from nfnets.augment.mix import draw_mixture, mix_images, mix_labels
from nfnets.errors import InputError

KEY = jax.random.key(3)
MANY, HEIGHT, WIDTH = 4096, 20, 36


@functools.cache
def mixture(mixup: float | None, cutmix: float | None):
  draw = functools.partial(draw_mixture, height=HEIGHT, width=WIDTH, mixup=mixup, cutmix=cutmix)
  return jax.tree.map(np.asarray, jax.jit(draw)(KEY, jnp.arange(MANY)))


def is_box(weights: np.ndarray) -> bool:
  """Whether the zeros of [H, W] ones and zeros are a rectangle."""
  rows, columns = np.any(weights == 0, axis=1), np.any(weights == 0, axis=0)
  one_piece = all(
    np.sum(np.diff(np.pad(side.astype(int), 1)) == 1) <= 1 for side in (rows, columns)
  )
  return one_piece and np.array_equal(weights == 0, rows[:, None] & columns)


def test_mixup_shares_follow_the_beta_distribution():
  weights, share = mixture(0.2, None)
  assert weights.shape == (MANY, HEIGHT, WIDTH, 1)
  assert np.array_equal(weights, np.broadcast_to(share[:, None, None, None], weights.shape))
  assert stats.kstest(share, stats.beta(0.2, 0.2).cdf).pvalue > 0.001


def test_cutmix_keeps_all_but_a_box_and_counts_it():
  weights, share = mixture(None, 1.0)
  assert set(np.unique(weights)) == {0.0, 1.0}
  assert all(is_box(one[..., 0]) for one in weights[:200])
  np.testing.assert_allclose(share, weights.mean(axis=(1, 2, 3)), atol=1e-6)


def test_cutmix_boxes_have_uniform_areas_before_the_border_cuts_them():
  _, share = mixture(None, 1.0)

  def covered(length: int, ratio: float) -> float:
    """Mean covered part of a side, over all places of the centre."""
    reach = int(ratio * length) // 2
    parts = [min(c + reach, length) - max(c - reach, 0) for c in range(length)]
    return float(np.mean(parts)) / length

  grid = np.sqrt((np.arange(2000) + 0.5) / 2000)
  expected = np.mean([covered(HEIGHT, ratio) * covered(WIDTH, ratio) for ratio in grid])
  assert abs(np.mean(1 - share) - expected) < 4 * np.std(share) / np.sqrt(MANY)
  assert share.min() < 0.25 < 0.95 < share.max()  # from most of the image to nearly nothing


def test_boxes_lie_everywhere():
  weights, _ = mixture(None, 1.0)
  inside = 1 - weights[..., 0].mean(axis=0)
  for mirrored in (inside[::-1], inside[:, ::-1]):
    np.testing.assert_allclose(inside, mirrored, atol=0.06)


def test_with_both_even_positions_are_mixed_and_odd_ones_cut():
  weights, share = mixture(0.2, 1.0)
  mixup, cutmix = mixture(0.2, None), mixture(None, 1.0)
  for both, one, where in (
    *((weights, mixup.weights, np.s_[::2]), (share, mixup.share, np.s_[::2])),
    *((weights, cutmix.weights, np.s_[1::2]), (share, cutmix.share, np.s_[1::2])),
  ):
    np.testing.assert_allclose(both[where], one[where], rtol=1e-4, atol=1e-6)


def test_an_example_is_mixed_alike_wherever_it_stands():
  draw = jax.jit(functools.partial(draw_mixture, height=HEIGHT, width=WIDTH, mixup=0.2, cutmix=1.0))
  weights, share = mixture(0.2, 1.0)
  order = np.random.default_rng(0).permutation(MANY)[:7]
  some = draw(KEY, jnp.asarray(order))
  assert np.array_equal(some.weights, weights[order])
  assert np.array_equal(some.share, share[order])
  assert not np.array_equal(draw(jax.random.key(4), jnp.asarray(order)).share, share[order])


def test_pixels_and_labels_are_mixed_by_weights_and_share():
  rng = np.random.default_rng(0)
  images, partners = rng.integers(0, 256, (2, MANY, HEIGHT, WIDTH, 3), dtype=np.uint8)[:, :6]
  found = jax.tree.map(lambda x: x[:6], mixture(0.2, 1.0))
  mixed = mix_images(jnp.asarray(images), jnp.asarray(partners), found)
  expected = found.weights * images + (1 - found.weights) * partners
  np.testing.assert_allclose(mixed, expected, atol=1e-3)
  targets = mix_labels(jnp.array([0, 1, 2, 0, 1, 2]), jnp.array([1] * 6), found.share, 4)
  for row, label, share in zip(targets, (0, 1, 2) * 2, found.share, strict=True):
    wanted = np.zeros(4)
    wanted[label] += share
    wanted[1] += 1 - share
    np.testing.assert_allclose(row, wanted, atol=1e-6)


def test_no_mixing_is_no_mixture():
  with pytest.raises(InputError, match='mixup=None cutmix=None'):
    draw_mixture(KEY, jnp.arange(2), height=4, width=4, mixup=None, cutmix=None)
