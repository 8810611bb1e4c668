"""Whether parameters are those of a network: leaf by leaf, and nothing is taken by halves."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from nfnets.errors import InputError
from nfnets.weights.sources import printable

_MOST_LINES = 20


class Shaped(Protocol):
  """An array, or what describes one."""

  @property
  def shape(self) -> tuple[int, ...]:
    """Its sizes."""
    ...

  @property
  def dtype(self) -> np.dtype:
    """What its numbers are."""
    ...


def fit(
  params: Mapping[str, Mapping[str, np.ndarray]],
  expected: Mapping[str, Mapping[str, Shaped]],
  *,
  name: str = 'params',
) -> dict[str, dict[str, np.ndarray]]:
  """The parameters in the order of the network, and in its dtypes.

  Args:
    params: module path -> {name: array of a floating dtype}, in any order.
    expected: the parameters of the network, or their shapes as `Model.shapes` gives them.
    name: what to call the parameters in an error: the file they are from.

  Returns:
    As `expected`, with the arrays of `params`; those of the right dtype already are not copied.

  Raises:
    InputError: parameters are missing, unexpected or of another shape.  The first line counts
      them, the next name them, at most 20.
  """
  missing = [f'missing: {leaf} {shape}' for leaf, shape in _difference(expected, params)]
  unexpected = [f'unexpected: {leaf} {shape}' for leaf, shape in _difference(params, expected)]
  wrong = list(_wrong_shapes(params, expected))
  if problems := [*wrong, *missing, *unexpected]:
    counts = f'{len(missing)} missing, {len(unexpected)} unexpected, {len(wrong)} of a wrong shape'
    rest = len(problems) - _MOST_LINES
    tail = [f'and {rest} more'] if rest > 0 else []
    lines = [*problems[:_MOST_LINES], *tail]
    raise InputError(f'{name} does not fit the network: {counts}', lines)
  return {
    module: {leaf: _cast(params[module][leaf], shaped.dtype) for leaf, shaped in leaves.items()}
    for module, leaves in expected.items()
  }


_Tree = Mapping[str, Mapping[str, Shaped]]


def _difference(tree: _Tree, other: _Tree) -> Iterator[tuple[str, tuple[int, ...]]]:
  """The leaves of `tree` that `other` has not, and their shapes."""
  for module, leaves in tree.items():
    for leaf, shaped in leaves.items():
      if leaf not in other.get(module, ()):
        yield f'{printable(module)} {printable(leaf)}', tuple(shaped.shape)


def _wrong_shapes(params: _Tree, expected: _Tree) -> Iterator[str]:
  for module, leaves in expected.items():
    for leaf, shaped in leaves.items():
      if leaf in params.get(module, ()):
        found, right = tuple(params[module][leaf].shape), tuple(shaped.shape)
        if found != right:
          yield f'wrong shape: {module} {leaf} is {found}, the network has {right}'


def _cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
  return np.asarray(array).astype(dtype, copy=False)
