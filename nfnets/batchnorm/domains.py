"""Batch normalization with statistics, or scales and offsets, of each domain its own.

Wu and Johnson 2021, section 5.  Split, mixture, auxiliary and transferable batch normalization are
of this kind.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from nfnets.arguments import check_number
from nfnets.batchnorm.averages import State, average_paths, norm_paths

_P = ParamSpec('_P')
_R = TypeVar('_R')
_Tree = Mapping[str, Mapping[str, Any]]
_Leaves = dict[str, dict[str, Any]]
_AFFINE = frozenset({'scale', 'offset'})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Domains:
  """What domains share, and what each has for itself, in the trees of any Haiku network.

  A leaf that each has for itself is a stack `[count, ...]` of the network's own.  Example:
    domains = Domains(count=2)
    params, state = domains.split(params, state)
    apply = domains.select(model.apply)
    outputs, state = apply(domain, params, state, rng, images, is_training=True)
  """

  count: int
  statistics: bool = True
  """Whether each has moving averages of its own."""
  affine: bool = False
  """Whether each has scales and offsets of its own."""

  def __post_init__(self):
    check_number('count', self.count, at_least=1)

  def split(self, params: _Tree, state: State) -> tuple[_Leaves, _Leaves]:
    """The trees of a network that domains share to those of one for each: all begin as it was.

    Raises:
      InputError: there is no batch normalization in the state.
    """
    stack = lambda x: jnp.repeat(jnp.asarray(x)[None], self.count, axis=0)  # noqa: E731
    return self._map_params(stack, state, params), self._map_state(stack, state)

  def of(self, domain: int | jax.Array, params: _Tree, state: State) -> tuple[_Leaves, _Leaves]:
    """The ordinary trees of one domain; its number may be traced."""
    choose = lambda x: x[domain]  # noqa: E731
    return self._map_params(choose, state, params), self._map_state(choose, state)

  def put(self, domain: int | jax.Array, state: State, new: State) -> _Leaves:
    """`state` of all domains, with an ordinary state as that of one of them.

    Such as one by `precise_statistics` of its examples.
    """
    own = average_paths(state) if self.statistics else frozenset()
    return {
      path: {
        name: state[path][name].at[domain].set(x) if path in own else x
        for name, x in leaves.items()
      }
      for path, leaves in new.items()
    }

  def select(
    self, apply: Callable[Concatenate[Any, Any, _P], tuple[_R, State]]
  ) -> Callable[Concatenate[Any, Any, Any, _P], tuple[_R, _Leaves]]:
    """`apply(params, state, ...)` as `apply(domain, params, state, ...)` on the split trees.

    All examples of a call are of one domain.  Gradients reach its scales and offsets and what is
    shared; training moves its averages, or those that are shared.
    """

    @functools.wraps(apply)
    def applied(
      domain: Any, params: _Tree, state: State, *args: _P.args, **kwargs: _P.kwargs
    ) -> tuple[_R, _Leaves]:
      outputs, new = apply(*self.of(domain, params, state), *args, **kwargs)
      return outputs, self.put(domain, state, new)

    return applied

  def _map_params(self, change: Callable[[Any], Any], state: State, params: _Tree) -> _Leaves:
    own = set(norm_paths(state)) if self.affine else set()
    return {
      path: {
        name: change(x) if path in own and name in _AFFINE else x for name, x in leaves.items()
      }
      for path, leaves in params.items()
    }

  def _map_state(self, change: Callable[[Any], Any], state: State) -> _Leaves:
    own = average_paths(state) if self.statistics else frozenset()
    return {
      path: {name: change(x) if path in own else x for name, x in leaves.items()}
      for path, leaves in state.items()
    }
