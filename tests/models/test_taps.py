"""Taps: free where nobody looks, in order where somebody does."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.models.taps import collect, is_collecting, tap


def doubled_thrice(x: jax.Array) -> jax.Array:
  for _ in range(3):
    x = tap('doubled', 2 * x)
  return tap('end', x)


def test_a_tap_is_nothing_where_nobody_looks():
  x = jnp.ones(2)
  assert tap('x', x) is x
  assert not is_collecting()
  jaxpr = jax.make_jaxpr(doubled_thrice)(x)
  assert [str(equation.primitive) for equation in jaxpr.eqns] == 3 * ['mul']


def test_what_is_tapped_comes_by_name_and_in_order():
  output, tapped = collect(doubled_thrice, jnp.sum)(jnp.ones(2))
  np.testing.assert_array_equal(output, [8, 8])
  assert {name: [*map(float, values)] for name, values in tapped.items()} == {
    'doubled': [4, 8, 16],
    'end': [16],
  }


def test_it_may_be_jitted_and_only_the_reduced_values_come_out():
  collected = jax.jit(collect(doubled_thrice, lambda x: (jnp.sum(x), jnp.max(x))))
  _, tapped = collected(jnp.arange(3.0))
  assert tapped['doubled'] == [(6, 4), (12, 8), (24, 16)]
  assert all(value.shape == () for pair in tapped['doubled'] for value in pair)


def test_arguments_are_handed_through():
  def scaled(x: jax.Array, *, factor: float) -> jax.Array:
    return tap('x', factor * x)

  output, _ = collect(scaled, jnp.sum)(jnp.ones(2), factor=3.0)
  np.testing.assert_array_equal(output, [3, 3])


def test_the_innermost_collector_gets_what_is_tapped():
  def outer(x: jax.Array) -> jax.Array:
    tap('outer', x)
    _, tapped = collect(doubled_thrice, jnp.sum)(x)
    assert list(tapped) == ['doubled', 'end']
    return tap('outer', 2 * x)

  _, tapped = collect(outer, jnp.sum)(jnp.ones(1))
  assert tapped == {'outer': [1, 2]}


def test_an_error_ends_the_collecting():
  def failing(x: jax.Array) -> jax.Array:
    assert is_collecting()
    raise ArithmeticError(tap('x', x))

  with pytest.raises(ArithmeticError):
    collect(failing, jnp.sum)(jnp.ones(1))
  assert not is_collecting()


def test_two_threads_do_not_see_each_others_taps():
  both_collect = threading.Barrier(2, timeout=60)
  found = {}

  def tapping(name: str) -> None:
    def function() -> None:
      both_collect.wait()
      tap(name, jnp.ones(1))
      both_collect.wait()

    found[name] = list(collect(function, jnp.sum)()[1])

  threads = [threading.Thread(target=tapping, args=(name,)) for name in 'ab']
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert found == {'a': ['a'], 'b': ['b']}
