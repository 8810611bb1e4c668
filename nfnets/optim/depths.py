"""Where in its network a parameter sits, told by its name alone, and what follows for its updates.

place           which parameters
stem            of the convolutions before the first block
block_0, ...    of that block, counted through all stages
neck            of what lies between the last block and the pooling
head            of the classifier

The names are those of the features that a network returns.
"""

import itertools
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import optax

from nfnets.arguments import check_number
from nfnets.errors import InputError
from nfnets.optim.labels import label_tree

STEM, NECK, HEAD = 'stem', 'neck', 'head'

_BLOCK = re.compile(r'(?:nf|nf_res|res)_block(?:_v[12])?(?:_([1-9][0-9]*))?')
_MODULES = (
  (re.compile(r'stem_conv[0-9]+|initial_(?:conv|bn)'), STEM),
  (re.compile(r'final_(?:conv|bn)'), NECK),
  (re.compile(r'linear'), HEAD),
)
_OF_THE_NETWORK = {'bias1': STEM, 'bias2': HEAD}
"""Fixup's biases belong to the network's own module: one ends the stem, one enters the head."""


def place_of(module: str, name: str) -> str:
  """The place of the parameter, or statistic, `name` of the Haiku module at path `module`.

  Raises:
    InputError: these are not the names of a network of nfnets.

  >>> place_of('NFNet/~/nf_block_3/~/squeeze_excite/~/linear', 'w')
  'block_3'
  """
  for part in module.split('/'):
    if block := _BLOCK.fullmatch(part):
      return f'block_{block[1] or 0}'
    for pattern, place in _MODULES:
      if pattern.fullmatch(part):
        return place
  if name in _OF_THE_NETWORK:
    return _OF_THE_NETWORK[name]
  raise InputError(f'params: {module!r} {name!r} has no place among stem, blocks, neck and head')


def stage_of(place: str, depths: Sequence[int]) -> str:
  """The part of the network that `place` belongs to: a block's stage, or the place itself.

  Args:
    place: as `place_of` names it.
    depths: how many blocks each stage has.

  Raises:
    InputError: there are not so many blocks.

  >>> stage_of('block_3', [1, 2, 6, 3])
  'stage_2'
  """
  block = _number(place)
  if block < 0:
    return place
  for stage, end in enumerate(itertools.accumulate(depths)):
    if block < end:
      return f'stage_{stage}'
  raise InputError(f'place={place!r}: stages of {list(depths)} blocks have {sum(depths)}')


def stage_places(stage: int, depths: Sequence[int]) -> frozenset[str]:
  """The places of all blocks of a stage, counted from 0.

  Raises:
    InputError: there is no such stage.

  >>> sorted(stage_places(1, [1, 2, 6, 3]))
  ['block_1', 'block_2']
  """
  if not 0 <= stage < len(depths):
    raise InputError(f'stage={stage}: must be 0 to {len(depths) - 1}')
  first = sum(depths[:stage])
  return frozenset(f'block_{i}' for i in range(first, first + depths[stage]))


def place_tree(params: optax.Params) -> Any:
  """The structure of `params` with its place for every leaf; see `label_tree`."""
  return label_tree(place_of, params)


def in_places(places: Collection[str]) -> Callable[[optax.Params], Any]:
  """A mask for `optax.masked`: the function params -> tree of bools, True inside `places`."""
  return lambda params: jax.tree.map(lambda place: place in places, place_tree(params))


def depth_tree(params: optax.Params) -> Any:
  """The structure of `params` with the depth of every leaf.

  The stem has depth 0 and block i depth i + 1; the neck that of the last block, as timm counts; the
  head one more.  Blocks may be left out at the start of the network, but not at its end.
  """
  places = place_tree(params)
  last = max((_number(place) + 1 for place in jax.tree.leaves(places)), default=0)
  others = {STEM: 0, NECK: last, HEAD: last + 1}
  return jax.tree.map(lambda place: others.get(place, _number(place) + 1), places)


def rate_tree(params: optax.Params, decay: float) -> Any:
  """The structure of `params` with what the learning rate of every leaf is multiplied by.

  That is decay**(D - d) at depth d, where D is the depth of the head.
  """
  depths = depth_tree(params)
  head = max(jax.tree.leaves(depths), default=0)
  return jax.tree.map(lambda depth: decay ** (head - depth), depths)


def scale_by_depth(decay: float) -> optax.GradientTransformation:
  """Multiplies the updates at depth d by decay**(D - d), where D is the depth of the head.

  Behind the momentum this is a learning rate for every depth: that of the head is the schedule's,
  that of each block is `decay` times that of the next (Bao et al. 2021, arXiv 2106.08254, section
  3.2).  The steps are those of timm's `--layer-decay`.

  Args:
    decay: in (0, 1]; 1 changes nothing.

  Raises:
    InputError: at once, if `decay` is out of its range; in `update`, if a parameter's name is that
      of no network.
  """
  check_number('layer_decay', decay, above=0, at_most=1)

  def scale(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
    del params
    return jax.tree.map(lambda rate, update: update * rate, rate_tree(updates, decay), updates)

  return optax.stateless(scale)


def _number(place: str) -> int:
  """Of a block; -1 for what is none."""
  return int(place.removeprefix('block_')) if place.startswith('block_') else -1
