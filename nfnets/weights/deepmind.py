"""The parameters that DeepMind released with the NFNets paper.

The files are called `F0_haiku.npz` to `F6_haiku.npz` and are pickles nevertheless: module path ->
{name: array}, with the names of our own modules.
"""

import os
from typing import NamedTuple

import numpy as np

from nfnets.weights import pickles, reconstructors
from nfnets.weights.dtypes import is_floating
from nfnets.weights.sources import Refused, opened, printable

Params = dict[str, dict[str, np.ndarray]]

_MOST_ARRAYS = 100_000


class Released(NamedTuple):
  """One released file."""

  file: str
  md5: str
  size: int | None = None
  """In bytes, where it is known."""

  @property
  def url(self) -> str:
    """Where it can be downloaded."""
    return f'https://storage.googleapis.com/dm-nfnets/{self.file}'


# Our name of the network -> its file.
RELEASED = {
  'nfnet_f0': Released('F0_haiku.npz', '0a41039da1cb43adf47f1b7d86ddfe0f', 285_976_842),
  'nfnet_f1': Released('F1_haiku.npz', 'c9126bbfaf855f9ddb7ff3b902558781'),
  'nfnet_f2': Released('F2_haiku.npz', '7a018d8d1498020e2f5a8719a1e7f53f'),
  'nfnet_f3': Released('F3_haiku.npz', 'd8e1e78d26db659c486150dbaccbe78a'),
  'nfnet_f4': Released('F4_haiku.npz', 'f5974a7e3388aa81b91a9f1403e759a4'),
  'nfnet_f5': Released('F5_haiku.npz', '8639e925de951030651ac775b9f915c3'),
  'nfnet_f6': Released('F6_haiku.npz', 'b16cca40ac1ecec2bd5e3273866da0c1'),
}


def read(path: str | os.PathLike) -> Params:
  """Reads such a file without running anything that is in it.

  Args:
    path: a pickle of protocol 2 to 5 as Python or dill writes it: dicts or Haiku's mappings with
      arrays of NumPy or JAX.

  Returns:
    Module path -> {name: array}; read-only arrays of a floating dtype, bfloat16 included.

  Raises:
    InputError: the file cannot be read, is damaged, holds something else, or refers to anything
      but arrays and mappings.
  """
  with opened(path) as source:
    modules = pickles.load(source, reconstructors.table())
    if source.remaining:
      raise Refused(f'is damaged: {source.remaining} bytes follow its end')
    return _params(modules)


def _params(modules: object) -> Params:
  budget = _MOST_ARRAYS
  params: Params = {}
  for module, arrays in _mapping(modules, 'the file').items():
    place = printable(module)
    # One dict may stand in a pickle a million times.
    leaves = _mapping(arrays, place, budget)
    budget -= len(leaves)
    params[module] = {
      name: _leaf(leaf, f'{place} {printable(name)}') for name, leaf in leaves.items()
    }
  return params


def _mapping(mapping: object, place: str, most: int = _MOST_ARRAYS) -> dict[str, object]:
  if type(mapping) is not dict:
    raise Refused(f'holds no parameters: {place} should be a mapping of names')
  if len(mapping) > most:
    raise Refused(f'holds no parameters: more than {_MOST_ARRAYS:,} names')
  if not all(type(name) is str for name in mapping):
    raise Refused(f'holds no parameters: {place} has keys that are no names')
  return mapping


def _leaf(leaf: object, place: str) -> np.ndarray:
  array = leaf.array if isinstance(leaf, reconstructors.Array) else None
  if array is None or not is_floating(array.dtype):
    found = f'{type(leaf).__name__}' if array is None else f'an array of {array.dtype}'
    raise Refused(f'holds no parameters: {place} should be an array of floats, not {found}')
  return array
