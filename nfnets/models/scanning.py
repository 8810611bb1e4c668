"""Equal blocks in a row as one loop or function: deep networks compiled as fast as shallow ones.

The parameters keep their names: each block's are read under its own path.  For a loop they are
stacked, and so is what it keeps for the backward pass; a function takes each block's as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import haiku as hk
import jax
from jax.experimental.xla_metadata import set_xla_metadata

from nfnets.models import stacking
from nfnets.models.initialization import Leaf, Leaves, record
from nfnets.models.layers import Terms

Block = Callable[[jax.Array, Terms], jax.Array]
_Arrays = dict[str, jax.Array]
_State = dict[str, _Arrays]  # of one block, by the paths of its modules
_Leaves = tuple[dict[str, _Arrays], _State, Terms]
_Step = Callable[[jax.Array, _Leaves], tuple[jax.Array, Any]]


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


def apply_equal(
  make: Callable[[], Block],
  paths: Sequence[str],
  x: jax.Array,
  terms: Sequence[Terms],
  *,
  form: Literal['loop', 'shared'],
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
    form: as in `Execution.equal_blocks`.
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

  def step(x: jax.Array, leaves: _Leaves) -> tuple[jax.Array, Any]:
    params, state, terms = leaves
    y, new_state = block.apply(params, state, None, x, terms)
    return y.astype(x.dtype), new_state if updates_state else None

  go_through = {'loop': _scan, 'shared': _call_each}[form]
  x, new_states = go_through(wrap(step), x, list(zip(all_params, all_state, terms, strict=True)))
  if updates_state:
    _write(new_states, paths)
  return x


def _scan(step: _Step, x: jax.Array, all_leaves: Sequence[_Leaves]) -> tuple[jax.Array, Any]:
  """Behind the last step, and the state that each leaves."""
  x, stacked = jax.lax.scan(step, x, _stack(all_leaves))
  leaves, tree = jax.tree.flatten(stacked)
  columns = [stacking.unstack(leaf) for leaf in leaves]
  return x, [tree.unflatten([column[i] for column in columns]) for i in range(len(all_leaves))]


def _call_each(step: _Step, x: jax.Array, all_leaves: Sequence[_Leaves]) -> tuple[jax.Array, Any]:
  """The same by a function that is called for each.

  The compiler for TPUs is told to take calls apart only when it has optimized the function, once
  for all of them.  That for GPUs would fuse nothing within it, so others inline as they do.
  """
  shared = jax.jit(step)

  def kept_whole(x: jax.Array, leaves: _Leaves) -> tuple[jax.Array, Any]:
    with set_xla_metadata(inlineable='false'):
      return shared(x, leaves)

  states = []
  for leaves in all_leaves:
    x, state = jax.lax.platform_dependent(x, leaves, tpu=kept_whole, default=shared)
    states.append(state)
  return x, states


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


def _write(states: Sequence[_State], paths: Sequence[str]) -> None:
  for path, state in zip(paths, states, strict=True):
    for module, values in state.items():
      _Within(_inside(path, module)).set_state(values)


def _inside(path: str, module: str) -> str:
  """The path of a block's inner `module`, say 'nf_block/~/conv0', where the block has `path`."""
  _, slash, rest = module.partition('/')
  return path + slash + rest
