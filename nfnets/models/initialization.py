"""First values of a Haiku network's parameters, without computing the network.

`hk.transform(...).init` runs the whole forward pass to learn the shapes, and under `jit` compiles it.
Here the forward pass is only traced; each parameter's own initializer then makes its value from a key
derived from its path.  So a value depends on seed and path alone, not on what else the network holds.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp


class _Leaf(NamedTuple):
  shape: tuple[int, ...]
  dtype: Any
  init: Callable[[Sequence[int], Any], jax.Array]


_Leaves = dict[tuple[str, str], _Leaf]


def initialize(
  forward: Callable[..., Any], rng: jax.Array, *args: Any
) -> tuple[hk.MutableParams, hk.MutableState]:
  """Parameters and state of the Haiku function `forward` as called with `args`.

  Args:
    forward: a function of modules, as `hk.transform_with_state` takes it.
    rng: a typed or raw JAX key.
    *args: what `forward` is traced with: arrays, or `jax.ShapeDtypeStruct`s that stand for them.

  Returns:
    Two-level mappings, module path -> {name: array}, in the order in which Haiku creates them.
  """
  params, state = _record(forward, args)
  return _values(params, rng), _values(state, rng)


def _record(forward: Callable[..., Any], args: tuple[Any, ...]) -> tuple[_Leaves, _Leaves]:
  """Every parameter and state entry that `forward` asks for, with its initializer."""
  params: _Leaves = {}
  state: _Leaves = {}

  def recorder(leaves: _Leaves) -> Callable[..., jax.Array]:
    def create(next_creator, shape, dtype, init, context):
      module, _, name = context.full_name.rpartition('/')
      leaves[module, name] = _Leaf(tuple(shape), dtype, init)
      return next_creator(shape, dtype, jnp.zeros)  # its value is not looked at

    return create

  def recorded(*args: Any) -> Any:
    with (
      hk.custom_creator(recorder(params), params=True, state=False),
      hk.custom_creator(recorder(state), params=False, state=True),
    ):
      return forward(*args)

  jax.eval_shape(hk.transform_with_state(recorded).init, jax.random.key(0), *args)
  return params, state


def _values(leaves: _Leaves, rng: jax.Array) -> dict[str, dict[str, jax.Array]]:
  tree: dict[str, dict[str, jax.Array]] = {}
  for (module, name), leaf in leaves.items():
    key = jax.random.fold_in(rng, zlib.crc32(f'{module}/{name}'.encode()))
    make = hk.transform(leaf.init)  # initializers draw their key from Haiku
    tree.setdefault(module, {})[name] = make.apply({}, key, leaf.shape, leaf.dtype)
  return tree
