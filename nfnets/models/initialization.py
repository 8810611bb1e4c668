"""First values of a Haiku network's parameters, without computing the network.

`hk.transform(...).init` runs the whole forward pass to learn the shapes, and under `jit` compiles
it. Here the forward pass is only traced; then every parameter's own initializer makes its value,
with a key derived from the parameter's path.  So a value depends on seed and path alone, not on
what else the network holds.
"""

import contextvars
import math
import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.random import threefry_2x32

from nfnets.models.initializers import Constant, Normal


class Leaf(NamedTuple):
  """A parameter or an entry of the state, before it has a value."""

  shape: tuple[int, ...]
  dtype: Any
  init: Callable[[Sequence[int], Any], jax.Array]


_Path = tuple[str, str]
Leaves = dict[_Path, Leaf]
"""(module path, name) -> leaf."""
_Tree = hk.MutableParams

# What the innermost `record` fills: Haiku shows every new parameter to all creators.
_INNERMOST: contextvars.ContextVar[Leaves | None] = contextvars.ContextVar('leaves', default=None)

_ROW = 4096  # numbers; a leaf takes a whole number of rows


def initialize(
  forward: Callable[..., Any],
  rng: jax.Array,
  *args: Any,
  modules: Collection[str] | None = None,
) -> tuple[_Tree, _Tree]:
  """Parameters and state of the Haiku function `forward` as called with `args`.

  State that is set without having been asked for, such as the averages of `hk.BatchNorm`, is zero:
  Haiku would compute it from the arguments.

  Args:
    forward: a function of modules, as `hk.transform_with_state` takes it.
    rng: a typed or raw JAX key.
    *args: what `forward` is traced with: arrays, or `jax.ShapeDtypeStruct`s that stand for them.
    modules: paths of the modules wanted; None for all.

  Returns:
    Two-level mappings, module path -> {name: array}, in the order in which Haiku creates them.
  """
  params, state = (
    {path: leaf for path, leaf in leaves.items() if modules is None or path[0] in modules}
    for leaves in record(forward, args)
  )
  return _values(params, rng), _values(state, rng)


def shapes(forward: Callable[..., Any], *args: Any) -> tuple[_Tree, _Tree]:
  """What `initialize` would make, as `jax.ShapeDtypeStruct`s; nothing is compiled."""
  params, state = record(forward, args)
  return _shapes(params), _shapes(state)


def record(forward: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Leaves, Leaves]:
  """Every parameter and every state entry that `forward(*args)` asks for, with its initializer."""
  params: Leaves = {}
  state: Leaves = {}

  def recorder(leaves: Leaves) -> Callable[..., jax.Array]:
    def create(next_creator, shape, dtype, init, context):
      if _INNERMOST.get() is not params:  # a `record` within this one, with modules of its own
        return next_creator(shape, dtype, init)
      module, _, name = context.full_name.rpartition('/')
      leaves[module, name] = Leaf(tuple(shape), dtype, init)
      return next_creator(shape, dtype, jnp.zeros)  # its value is not looked at

    return create

  def recorded(*args: Any) -> Any:
    with (
      hk.custom_creator(recorder(params), params=True, state=False),
      hk.custom_creator(recorder(state), params=False, state=True),
    ):
      return forward(*args)

  network = hk.transform_with_state(recorded)
  token = _INNERMOST.set(params)
  try:
    key = jax.eval_shape(lambda: jax.random.key(0))  # a real one would be compiled for
    _, whole_state = jax.eval_shape(network.init, key, *args)
  finally:
    _INNERMOST.reset(token)
  for module, entries in whole_state.items():
    for name, entry in entries.items():
      state.setdefault((module, name), Leaf(entry.shape, entry.dtype, Constant(0)))
  return params, state


def _shapes(leaves: Leaves) -> Any:
  tree: dict[str, dict[str, jax.ShapeDtypeStruct]] = {}
  for (module, name), leaf in leaves.items():
    tree.setdefault(module, {})[name] = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
  return tree


def _values(leaves: Leaves, rng: jax.Array) -> _Tree:
  constant = {path: leaf for path, leaf in leaves.items() if isinstance(leaf.init, Constant)}
  normal = {path: leaf for path, leaf in leaves.items() if isinstance(leaf.init, Normal)}
  other = {path: leaf for path, leaf in leaves.items() if path not in constant | normal}
  values = {path: leaf.init(leaf.shape, leaf.dtype) for path, leaf in constant.items()}
  values |= _normal(normal, rng) | _initialized(other, rng)
  tree: _Tree = {}
  for module, name in leaves:
    tree.setdefault(module, {})[name] = values[module, name]
  return tree


def _initialized(leaves: Leaves, rng: jax.Array) -> dict[_Path, jax.Array]:
  """Leaves by any other initializers, which draw their keys from Haiku."""
  if not leaves:
    return {}

  def make(rng: jax.Array) -> list[jax.Array]:
    return [
      hk.transform(leaf.init).apply(
        {}, jax.random.fold_in(rng, _hash(path)), leaf.shape, leaf.dtype
      )
      for path, leaf in leaves.items()
    ]

  return dict(zip(leaves, jax.jit(make)(rng), strict=True))


def _normal(leaves: Leaves, rng: jax.Array) -> dict[_Path, jax.Array]:
  """Leaves whose initializer is `Normal`: all drawn by one operation, then cut.

  Drawing them one by one would compile the generator once for every shape.
  """
  if not leaves:
    return {}
  sizes = [math.prod(leaf.shape) for leaf in leaves.values()]
  rows = np.array([-(-size // _ROW) for size in sizes])
  numbers = _draw(
    rng,
    np.array([_hash(path) for path in leaves], np.uint32),
    np.array([leaf.init.limit for leaf in leaves.values()], np.float32),
    np.array([leaf.init.scale(leaf.shape) for leaf in leaves.values()], np.float32),
    leaf_of_row=np.repeat(np.arange(len(rows)), rows),
    row_in_leaf=np.concatenate([np.arange(n, dtype=np.uint32) for n in rows]),
  )
  if not isinstance(numbers, Tracer):
    numbers = np.asarray(numbers)  # cut by NumPy: XLA would compile a program for every shape
  numbers = numbers.reshape(-1)
  starts = np.cumsum([0, *rows]) * _ROW
  return {
    # A copy: a view would share memory with `numbers`, of which JAX disposes at exit.
    path: jnp.array(numbers[start : start + size].reshape(leaf.shape), leaf.dtype)
    for (path, leaf), start, size in zip(leaves.items(), starts, sizes, strict=False)
  }


@jax.jit
def _draw(
  rng: jax.Array,
  hashes: jax.Array,
  limits: jax.Array,
  scales: jax.Array,
  *,
  leaf_of_row: jax.Array,
  row_in_leaf: jax.Array,
) -> jax.Array:
  """[rows, _ROW] normal numbers: a row follows from key, hash of its leaf and place in it."""
  typed = jnp.issubdtype(rng.dtype, jax.dtypes.prng_key)
  key = (jax.random.key_data(rng) if typed else rng)[-2:]  # two words, of any kind of key
  # Threefry turns two counters into two random words: here (leaf, place in the leaf).
  half = jnp.arange(_ROW // 2, dtype=jnp.uint32)
  place = row_in_leaf[:, None] * np.uint32(_ROW // 2) + half
  leaf = jnp.broadcast_to(hashes[leaf_of_row, None], place.shape)
  words = jnp.concatenate(threefry_2x32(key, jnp.stack([leaf, place])), axis=1)
  normal = jax.lax.erf_inv(_uniform(words) * limits[leaf_of_row, None]) * math.sqrt(2)
  return normal * scales[leaf_of_row, None]


def _uniform(words: jax.Array) -> jax.Array:
  """Numbers in (-1, 1) from random uint32, never the ends: there the normal quantile is infinite.

  23 bits, so that a half more is exact in float32; with 24 the largest would be rounded to 1.
  """
  return ((words >> 9).astype(jnp.float32) + 0.5) * 2.0**-22 - 1.0


def _hash(path: _Path) -> int:
  return zlib.crc32('/'.join(path).encode())
