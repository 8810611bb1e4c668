"""Equal blocks in a row as one loop: deep networks traced and compiled as fast as shallow ones.

The parameters keep their names: each block's are read under its own path and stacked for the loop.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from nfnets.models.initialization import Leaf, Leaves, record
from nfnets.models.layers import Terms

Block = Callable[[jax.Array, Terms], jax.Array]


class _Within(hk.Module):
  """Stands in for a module made elsewhere, to reach its parameters and state by its path."""

  def __init__(self, path: str):
    super().__init__(name=hk.force_name(path))

  def parameter(self, name: str, leaf: Leaf) -> jax.Array:
    return hk.get_parameter(name, leaf.shape, leaf.dtype, init=leaf.init)

  def state(self, name: str, leaf: Leaf) -> jax.Array:
    return hk.get_state(name, leaf.shape, leaf.dtype, init=leaf.init)

  def set_state(self, name: str, value: jax.Array) -> None:
    hk.set_state(name, value)


def scan(
  make: Callable[[], Block],
  paths: Sequence[str],
  x: jax.Array,
  terms: Sequence[Terms],
  *,
  updates_state: bool,
  wrap: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> jax.Array:
  """What `x` becomes behind blocks of equal parameters, applied one after the other.

  Called inside of a Haiku module, while parameters are initialized too.

  Args:
    make: makes such a block; called inside of a transformed function of its own.
    paths: of the blocks' modules, in order.
    x: [N, H, W, C], which the blocks do not change in shape.
    terms: of each block.
    updates_state: whether they set state.
    wrap: applied to the function of one block, such as `jax.checkpoint`.
  """

  def forward(x: jax.Array, terms: Terms) -> jax.Array:
    return make()(x, terms)

  block = hk.transform_with_state(forward)
  params, state = record(forward, _shapes((x, terms[0])))
  stacked_params = _stacked(params, paths, _Within.parameter)
  stacked_state = _stacked(state, paths, _Within.state)
  if hk.running_init():
    return x  # now that everything has been asked for

  def step(x: jax.Array, leaves: tuple[Any, Any, Terms]) -> tuple[jax.Array, Any]:
    params, state, terms = leaves
    y, new_state = block.apply(params, state, None, x, terms)
    return y.astype(x.dtype), new_state if updates_state else None

  xs = (stacked_params, stacked_state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *terms))
  x, new_state = jax.lax.scan(wrap(step), x, xs)
  if updates_state:
    _write(new_state, paths)
  return x


def _shapes(tree: Any) -> Any:
  return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def _stacked(
  leaves: Leaves, paths: Sequence[str], read: Callable[[_Within, str, Leaf], jax.Array]
) -> dict[str, dict[str, jax.Array]]:
  """The blocks' leaves [blocks, *shape], by the paths that they have in a block on its own."""
  stacked: dict[str, dict[str, jax.Array]] = {}
  for (module, name), leaf in leaves.items():
    values = [read(_Within(_inside(path, module)), name, leaf) for path in paths]
    stacked.setdefault(module, {})[name] = jnp.stack(values)
  return stacked


def _write(state: Mapping[str, Mapping[str, jax.Array]], paths: Sequence[str]) -> None:
  for module, entries in state.items():
    for name, stacked in entries.items():
      for path, value in zip(paths, jnp.unstack(stacked), strict=True):
        _Within(_inside(path, module)).set_state(name, value)


def _inside(path: str, module: str) -> str:
  """The path of a block's inner `module`, such as 'nf_block/~/conv0', where the block has `path`."""
  _, slash, rest = module.partition('/')
  return path + slash + rest
