"""Equal blocks in a row as one loop: deep networks traced and compiled as fast as shallow ones.

The parameters keep their names: each block's are read under its own path and stacked for the loop.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import haiku as hk
import jax

from nfnets.models import stacking
from nfnets.models.initialization import Leaf, Leaves, record
from nfnets.models.layers import Terms

Block = Callable[[jax.Array, Terms], jax.Array]
_Arrays = dict[str, jax.Array]


class _Within(hk.Module):
  """Stands in for a module made elsewhere, to reach its parameters and state by its path."""

  def __init__(self, path: str):
    super().__init__(name=hk.force_name(path))

  def parameters(self, leaves: Mapping[str, Leaf]) -> _Arrays:
    return {
      name: hk.get_parameter(name, leaf.shape, leaf.dtype, init=leaf.init)
      for name, leaf in leaves.items()
    }

  def state(self, leaves: Mapping[str, Leaf]) -> _Arrays:
    return {
      name: hk.get_state(name, leaf.shape, leaf.dtype, init=leaf.init)
      for name, leaf in leaves.items()
    }

  def set_state(self, values: _Arrays) -> None:
    for name, value in values.items():
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
  all_params = _read(params, paths, _Within.parameters)
  all_state = _read(state, paths, _Within.state)
  if hk.running_init():
    return x  # now that everything has been asked for

  def step(x: jax.Array, leaves: tuple[Any, Any, Terms]) -> tuple[jax.Array, Any]:
    params, state, terms = leaves
    y, new_state = block.apply(params, state, None, x, terms)
    return y.astype(x.dtype), new_state if updates_state else None

  x, new_state = jax.lax.scan(
    wrap(step), x, _stack(list(zip(all_params, all_state, terms, strict=True)))
  )
  if updates_state:
    _write(new_state, paths)
  return x


def _shapes(tree: Any) -> Any:
  return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def _stack(trees: Sequence[Any]) -> Any:
  return jax.tree.map(lambda *leaves: stacking.stack(leaves), *trees)


def _read(
  leaves: Leaves,
  paths: Sequence[str],
  read: Callable[[_Within, Mapping[str, Leaf]], _Arrays],
) -> list[dict[str, _Arrays]]:
  """What each block has, by the module paths of a block on its own."""
  modules: dict[str, dict[str, Leaf]] = {}
  for (module, name), leaf in leaves.items():
    modules.setdefault(module, {})[name] = leaf
  return [
    {module: read(_Within(_inside(path, module)), names) for module, names in modules.items()}
    for path in paths
  ]


def _write(state: Mapping[str, _Arrays], paths: Sequence[str]) -> None:
  for module, stacked in state.items():
    values = {name: stacking.unstack(entries) for name, entries in stacked.items()}
    for i, path in enumerate(paths):
      _Within(_inside(path, module)).set_state({name: values[name][i] for name in values})


def _inside(path: str, module: str) -> str:
  """The path of a block's inner `module`, say 'nf_block/~/conv0', where the block has `path`."""
  _, slash, rest = module.partition('/')
  return path + slash + rest
