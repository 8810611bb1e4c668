"""Norms of arrays and trees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.optim.norms import squares, tree_norm, unit_axes


def test_the_norm_of_a_tree_is_that_of_all_its_numbers():
  rng = np.random.default_rng(0)
  shapes = [(3, 3, 4, 5), (4, 5), (5,), (), (1, 1, 1, 7), (2, 0)]
  tree = [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]
  flat = np.concatenate([np.asarray(x).ravel() for x in tree])
  assert tree_norm(tree) == pytest.approx(np.linalg.norm(flat), rel=1e-6)


def test_the_norm_of_nothing_is_zero():
  assert tree_norm({}) == 0


def test_numbers_of_less_precision_are_summed_in_float32():
  x = jnp.full(1000, 1.0, jnp.bfloat16)
  assert tree_norm([x]).dtype == jnp.float32
  assert tree_norm([x]) == pytest.approx(1000**0.5, rel=1e-6)
  assert squares(x).dtype == jnp.float32


@pytest.mark.parametrize(
  ('shape', 'axes'),
  [((3, 3, 4, 5), (0, 1, 2)), ((4, 5), (0,)), ((5,), None), ((), None), ((1, 1, 4, 1), None)],
)
def test_the_axes_of_a_unit(shape, axes):
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  assert unit_axes(x) == axes


@pytest.mark.parametrize('bad', [np.nan, np.inf, 1e30])
def test_what_is_too_large_is_not_finite(bad):
  assert not np.isfinite(tree_norm([jnp.ones((2, 3)), jnp.asarray([1.0, bad])]))
