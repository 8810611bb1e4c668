"""Sums over many arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.optim.totals import side_by_side, total


def test_side_by_side_are_all_numbers_in_order():
  found = side_by_side([jnp.asarray([[1, 2], [3, 4]]), jnp.asarray(5.0), jnp.zeros((0, 2))])
  np.testing.assert_array_equal(found, np.float32([1, 2, 3, 4, 5]))
  assert side_by_side([]).shape == (0,)


@pytest.mark.parametrize('size', [0, 1, 7, 8, 9, 1000])
@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_the_total_is_the_sum_in_its_dtype(size, dtype):
  numbers = np.random.default_rng(size).integers(-9, 9, size).astype(dtype)
  found = jax.jit(total)(numbers)
  assert found == np.sum(numbers)
  assert (found.dtype, found.shape) == (dtype, ())


def test_the_total_of_flags_is_their_number():
  assert total(jnp.asarray([True, False, True])) == 2


def test_a_thousand_arrays_are_not_summed_one_by_one():
  """What makes F6's training step compile: see `total`."""
  arrays = [jnp.ones(3)] * 1000
  program = jax.jit(lambda arrays: total(side_by_side(arrays))).lower(arrays).compile().as_text()
  assert program.count(' add(') < 10
  assert program.count(' reduce(') < 10
