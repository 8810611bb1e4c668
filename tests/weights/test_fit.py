import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from nfnets.errors import InputError
from nfnets.weights.fit import fit

EXPECTED = {
  'net/~/conv': {
    'w': jax.ShapeDtypeStruct((3, 3, 2, 4), jnp.float32),
    'bias': np.zeros(4, np.float32),
  },
  'net/~/linear': {'w': np.zeros((4, 10), np.float32), 'b': np.zeros(10, np.float32)},
}


def params() -> dict[str, dict[str, np.ndarray]]:
  """Fits, in another order."""
  return {
    'net/~/linear': {'b': np.arange(10.0), 'w': np.ones((4, 10), np.float32)},
    'net/~/conv': {
      'bias': np.arange(4).astype(ml_dtypes.bfloat16),
      'w': np.ones((3, 3, 2, 4), np.float16),
    },
  }


def refusal(given: dict) -> list[str]:
  with pytest.raises(InputError) as caught:
    fit(given, EXPECTED, name='F0.npz')
  return str(caught.value).split('\n')


def test_what_fits_comes_in_the_order_and_the_dtypes_of_the_network() -> None:
  fitted = fit(params(), EXPECTED)
  assert [*fitted] == [*EXPECTED]
  assert [[*leaves] for leaves in fitted.values()] == [['w', 'bias'], ['w', 'b']]
  for module, leaves in params().items():
    for name, array in leaves.items():
      assert fitted[module][name].dtype == np.float32
      np.testing.assert_array_equal(fitted[module][name], array.astype(np.float32))


def test_float32_is_not_copied() -> None:
  given = params()
  assert fit(given, EXPECTED)['net/~/linear']['w'] is given['net/~/linear']['w']


def test_a_foreign_byte_order_becomes_ours() -> None:
  given = params()
  given['net/~/linear']['b'] = np.arange(10, dtype='>f4')
  fitted = fit(given, EXPECTED)['net/~/linear']['b']
  assert fitted.dtype == np.dtype(np.float32)
  assert fitted.dtype.isnative
  np.testing.assert_array_equal(fitted, np.arange(10))


def test_a_missing_leaf_is_named() -> None:
  given = params()
  del given['net/~/conv']['bias']
  assert refusal(given) == [
    'F0.npz does not fit the network: 1 missing, 0 unexpected, 0 of a wrong shape',
    '  missing: net/~/conv bias (4,)',
  ]


def test_every_leaf_of_a_missing_module_is_named() -> None:
  given = params()
  del given['net/~/linear']
  first, *lines = refusal(given)
  assert '2 missing, 0 unexpected, 0 of a wrong shape' in first
  assert lines == ['  missing: net/~/linear w (4, 10)', '  missing: net/~/linear b (10,)']


def test_an_unexpected_leaf_is_named() -> None:
  given = params()
  given['net/~/conv']['gain'] = np.ones(4)
  given['other'] = {'w': np.ones(())}
  first, *lines = refusal(given)
  assert '0 missing, 2 unexpected, 0 of a wrong shape' in first
  assert lines == ['  unexpected: net/~/conv gain (4,)', '  unexpected: other w ()']


def test_a_wrong_shape_is_named_with_both() -> None:
  given = params()
  given['net/~/linear']['w'] = np.ones((4, 1000))
  first, *lines = refusal(given)
  assert '0 missing, 0 unexpected, 1 of a wrong shape' in first
  assert lines == ['  wrong shape: net/~/linear w is (4, 1000), the network has (4, 10)']


def test_a_transposed_kernel_does_not_fit() -> None:
  given = params()
  given['net/~/conv']['w'] = given['net/~/conv']['w'].transpose(3, 2, 0, 1)
  assert '1 of a wrong shape' in refusal(given)[0]


def test_many_problems_are_counted_and_the_first_are_named() -> None:
  given = params() | {f'extra_{number}': {'w': np.ones(1)} for number in range(100)}
  del given['net/~/conv']
  first, *lines, last = refusal(given)
  assert '2 missing, 100 unexpected, 0 of a wrong shape' in first
  assert len(lines) == 20
  assert lines[0].startswith('  missing: ')
  assert last == '  and 82 more'


def test_names_of_a_file_move_no_cursor() -> None:
  _, line = refusal(params() | {'\x1b[2J\n': {'x' * 1000: np.ones(1)}})
  assert line == rf'  unexpected: \x1b[2J\n {"x" * 80}... (1,)'
