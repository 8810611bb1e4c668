"""timm's names for the parameters of NF networks, and ours: one table, read in both directions.

timm is huggingface/pytorch-image-models; its networks are in `timm/models/nfnet.py`.  It counts
blocks anew in every stage and keeps the layouts of PyTorch; our module paths are Haiku's, with one
count for all blocks.  Nothing is computed: whatever goes one way comes back bit for bit.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nfnets import names
from nfnets.errors import InputError
from nfnets.weights.sources import printable

_MOST_BLOCKS = 1_000


class _Leaf(NamedTuple):
  """One array of a layer: its name and its axes, a letter each or 1, on either side."""

  timm: str
  timm_axes: str
  name: str
  axes: str


class _Layer(NamedTuple):
  timm: str
  module: str
  leaves: tuple[_Leaf, ...]


class _Pair(NamedTuple):
  """One array of a network: timm's key, our module and the array's name there."""

  key: str
  module: str
  leaf: _Leaf


_CONVOLUTION = (
  _Leaf('.weight', 'OIHW', 'w', 'HWIO'),
  _Leaf('.gain', 'O111', 'gain', 'O'),
  _Leaf('.bias', 'O', 'bias', 'O'),
)
_LINEAR = (_Leaf('.weight', 'OI', 'w', 'IO'), _Leaf('.bias', 'O', 'b', 'O'))
_LINEAR_AS_CONVOLUTION = (_Leaf('.weight', 'OI11', 'w', 'IO'), _Leaf('.bias', 'O', 'b', 'O'))
_KERNEL_OVER_CHANNELS = (_Leaf('.weight', '11K', 'w', 'K'),)
_SCALAR = (_Leaf('', '', 'skip_gain', ''),)

_OUTSIDE_BLOCKS = (
  _Layer('stem.conv', '/~/initial_conv', _CONVOLUTION),
  _Layer('stem.conv1', '/~/stem_conv0', _CONVOLUTION),
  _Layer('stem.conv2', '/~/stem_conv1', _CONVOLUTION),
  _Layer('stem.conv3', '/~/stem_conv2', _CONVOLUTION),
  _Layer('stem.conv4', '/~/stem_conv3', _CONVOLUTION),
  _Layer('final_conv', '/~/final_conv', _CONVOLUTION),
  _Layer('head.fc', '/~/linear', _LINEAR),
)
_PROJECTION = '/~/conv_shortcut'
_IN_A_BLOCK = (
  _Layer('skipinit_gain', '', _SCALAR),
  _Layer('downsample.conv', _PROJECTION, _CONVOLUTION),
  _Layer('conv1', '/~/conv0', _CONVOLUTION),
  _Layer('conv2', '/~/conv1', _CONVOLUTION),
  _Layer('conv2b', '/~/conv1b', _CONVOLUTION),
  _Layer('conv3', '/~/conv2', _CONVOLUTION),
  _Layer('{attention}.fc1', '/~/squeeze_excite/~/linear', _LINEAR_AS_CONVOLUTION),
  _Layer('{attention}.fc2', '/~/squeeze_excite/~/linear_1', _LINEAR_AS_CONVOLUTION),
  _Layer('{attention}.conv', '/~/efficient_channel_attention', _KERNEL_OVER_CHANNELS),
)


@dataclasses.dataclass(frozen=True)
class _Root:
  """What the root module of a family decides."""

  block: str
  """Name of the modules of its blocks."""
  attention: str = 'attn_last'
  """timm's name for Squeeze-Excite and ECA; another where they precede the last convolution."""


_ROOTS = {
  'NFNet': _Root('nf_block'),
  'NF_ResNet': _Root('nf_res_block'),
  'NF_RegNet': _Root('nf_block', attention='attn'),
}

Params = dict[str, dict[str, np.ndarray]]


def from_timm(tensors: Mapping[str, np.ndarray], root: str) -> Params:
  """Our names and layouts for the tensors of a timm network.

  Args:
    tensors: timm's state dict.  A headless network will do.
    root: name of our network's module: `NFNet`, `NF_ResNet` or `NF_RegNet`.

  Returns:
    Module path -> {name: array}; the arrays are views of what was given.

  Raises:
    InputError: a tensor has no place in such a network or not the axes it should have, or a block
      is missing.
  """
  names.look_up(root, _ROOTS, argument='root')
  table = {pair.key: pair for pair in _pairs(root, _depths_by_numbers(tensors))}
  params: Params = {}
  for key, tensor in tensors.items():
    if key not in table:
      raise InputError(
        f"tensors: '{printable(key)}' is no parameter of a timm network with root {root}"
      )
    _, module, leaf = table[key]
    array = _rearrange(tensor, leaf.timm_axes, leaf.axes, name=key)
    params.setdefault(module, {})[leaf.name] = array
  return params


def to_timm(params: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
  """timm's names and layouts for our parameters: the inverse of `from_timm`.

  Args:
    params: module path -> {name: array}.  Headless will do.

  Returns:
    timm's state dict; the arrays are views of what was given.

  Raises:
    InputError: a parameter has no name in timm or not the axes it should have, or a block is
      missing.
  """
  root = _root_of(params)
  pairs = _pairs(root, _depths_by_projections(params, root))
  table = {(pair.module, pair.leaf.name): pair for pair in pairs}
  tensors: dict[str, np.ndarray] = {}
  for module, arrays in params.items():
    for name, array in arrays.items():
      if (module, name) not in table:
        raise InputError(f'params: {module!r} {name!r} has no name in timm')
      key, _, leaf = table[module, name]
      tensors[key] = _rearrange(array, leaf.axes, leaf.timm_axes, name=f'{module} {name}')
  return tensors


def _pairs(root: str, depths: Sequence[int]) -> Iterator[_Pair]:
  """Every array that a network may have."""
  yield from _pairs_of(_OUTSIDE_BLOCKS, '', root)
  places = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
  for index, (stage, block) in enumerate(places):
    yield from _pairs_of(_IN_A_BLOCK, f'stages.{stage}.{block}.', root, index)


def _pairs_of(
  layers: Sequence[_Layer], prefix: str, root: str, index: int | None = None
) -> Iterator[_Pair]:
  path = root if index is None else _block_path(root, index)
  for layer in layers:
    key = prefix + layer.timm.format(attention=_ROOTS[root].attention)
    for leaf in layer.leaves:
      yield _Pair(key + leaf.timm, path + layer.module, leaf)


def _block_path(root: str, index: int) -> str:
  """Haiku leaves the number out at the first of the modules of one name."""
  return f'{root}/~/{_ROOTS[root].block}' + (f'_{index}' if index else '')


def _root_of(modules: Collection[str]) -> str:
  roots = sorted({module.split('/')[0] for module in modules})
  if len(roots) != 1:
    raise InputError(f'params: expected the modules of one network, not of {roots}')
  names.look_up(roots[0], _ROOTS, argument='root of params')
  return roots[0]


def _depths_by_numbers(keys: Collection[str]) -> list[int]:
  """Blocks in each stage, from the numbers in timm's keys."""
  pattern = re.compile(r'stages\.([0-9]{1,4})\.([0-9]{1,4})\.(downsample\.)?')
  stages: dict[int, set[int]] = {}
  projections = set()
  for match in filter(None, map(pattern.match, keys)):
    stage, block = int(match[1]), int(match[2])
    stages.setdefault(stage, set()).add(block)
    if match[3]:
      projections.add((stage, block))
  if (count := sum(map(len, stages.values()))) > _MOST_BLOCKS:
    raise InputError(f'tensors: {count:,} blocks are more than any network has')
  _check_whole(stages, lambda stage: f'tensors: stages.{stage}')
  for stage, blocks in stages.items():
    _check_whole(blocks, lambda block, stage=stage: f'tensors: stages.{stage}.{block}')
  # Without this the way back could not tell where a stage begins.
  for stage, block in sorted(projections ^ {(stage, 0) for stage in stages}):
    problem = 'has no place here' if block else 'is missing'
    raise InputError(f'tensors: stages.{stage}.{block}.downsample.conv {problem}')
  return [len(stages[stage]) for stage in range(len(stages))]


def _depths_by_projections(modules: Collection[str], root: str) -> list[int]:
  """Blocks in each stage, from the projections that the first block of every stage has."""
  first = _block_path(root, 0)
  pattern = re.compile(rf'{re.escape(first)}(?:_([1-9][0-9]{{,3}}))?(?:/.*)?')
  blocks = {int(match[1] or 0) for match in filter(None, map(pattern.fullmatch, modules))}
  _check_whole(blocks, lambda index: f'params: {_block_path(root, index)}')
  starts = [index for index in blocks if _block_path(root, index) + _PROJECTION in modules]
  if blocks and 0 not in starts:
    raise InputError(f'params: {first}{_PROJECTION} is missing')
  return [end - start for start, end in itertools.pairwise([*sorted(starts), len(blocks)])]


def _check_whole(numbers: Collection[int], name: Callable[[int], str]) -> None:
  """Refuses numbers that do not count from 0 without a gap, by the name of the first left out."""
  for missing in sorted(set(range(len(numbers))) - set(numbers)):
    raise InputError(f'{name(missing)} is missing')


def _rearrange(array: np.ndarray, source: str, target: str, *, name: str) -> np.ndarray:
  """`array` with the axes `source` as one with the axes `target`, which are the same letters."""
  array = np.asarray(array)
  dropped = [place for place, axis in enumerate(source) if axis == '1']
  if array.ndim != len(source) or any(array.shape[place] != 1 for place in dropped):
    raise InputError(f'{name} has shape {array.shape}: its axes should be {tuple(source)}')
  letters = source.replace('1', '')
  order = [letters.index(axis) for axis in target if axis != '1']
  added = [place for place, axis in enumerate(target) if axis == '1']
  return np.expand_dims(np.squeeze(array, tuple(dropped)).transpose(order), tuple(added))
