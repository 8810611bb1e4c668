import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.arguments import check_number
from nfnets.errors import InputError


@pytest.mark.parametrize('value', [1, 0.5, np.float32(2), np.int64(3), jnp.ones(()), np.ones(())])
def test_numbers_of_every_kind_pass(value):
  check_number('x', value, above=0, at_most=3)


@pytest.mark.parametrize('bound', [{'above': 1}, {'at_least': 2}, {'below': 1}, {'at_most': 0}])
def test_each_bound_holds(bound):
  with pytest.raises(InputError, match=r'^x=1: must be one finite number [<>]=? \d$'):
    check_number('x', 1, **bound)


@pytest.mark.parametrize('bound', [{'above': 0}, {'at_least': 1}, {'below': 2}, {'at_most': 1}])
def test_each_bound_lets_its_numbers_pass(bound):
  check_number('x', 1, **bound)


@pytest.mark.parametrize(
  'value', ['0.1', None, True, np.nan, np.inf, -np.inf, np.ones(2), jnp.ones(1), (1,), {}]
)
def test_what_is_no_number_is_refused(value):
  with pytest.raises(InputError, match=r'^x=.*: must be one finite number$'):
    check_number('x', value)


def test_two_bounds_are_both_told():
  with pytest.raises(InputError, match=r'^x=1.5: must be one finite number >= 0 and < 1$'):
    check_number('x', 1.5, at_least=0, below=1)


def test_a_traced_value_is_let_through():
  def checked(x):
    check_number('x', x, above=0)
    return x

  assert jax.jit(checked)(-1.0) == -1
