"""In what order kernels take the parameters of a network, and what each is to them."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from nfnets.optim.depths import place_tree, rate_tree, stage_of
from nfnets.optim.groups import DECAYED_GROUPS, in_groups
from nfnets.optim.masks import clip_mask
from nfnets.optim.native_update import Rule, Traits, count_units


class Part(NamedTuple):
  """A part of the network: 'stem', 'stage_0', ..., and where its units lie among all."""

  name: str
  clipped: slice


class Layout(NamedTuple):
  """In what order the kernels take the parameters: part by part, in each the clipped ones first."""

  order: Sequence[int]
  """Of the leaves of the tree."""
  traits: Sequence[Traits]
  """In this order."""
  parts: Sequence[Part]
  """Those that have clipped units."""

  def sort(self, tree: Any) -> list[jax.Array]:
    """The leaves in this order."""
    leaves = jax.tree.leaves(tree)
    return [leaves[i] for i in self.order]

  def restore(self, leaves: Sequence[jax.Array], like: Any) -> Any:
    """The tree of leaves in this order, in the structure of another."""
    back = dict(zip(self.order, leaves, strict=True))
    return jax.tree.unflatten(jax.tree.structure(like), [back[i] for i in range(len(back))])


def lay_out(params: Any, rule: Rule, depths: Sequence[int]) -> Layout:
  """The layout of a network's parameters.

  Args:
    params: module path -> name -> array.
    rule: of the optimizer.
    depths: how many blocks each stage of the network has.
  """
  leaves = jax.tree.leaves(params)
  parts = [stage_of(place, depths) for place in jax.tree.leaves(place_tree(params))]
  clips = rule.clipping is not None
  clipped = [clips and x for x in jax.tree.leaves(clip_mask()(params))]
  decayed = jax.tree.leaves(in_groups(*DECAYED_GROUPS)(params))
  rates = jax.tree.leaves(rate_tree(params, rule.layer_decay or 1.0))
  traits = [
    Traits(units=count_units(x), clipped=c, decayed=d, rate=rate)
    for x, c, d, rate in zip(leaves, clipped, decayed, rates, strict=True)
  ]
  order = sorted(range(len(leaves)), key=lambda i: (parts[i], not clipped[i]))
  ends = list(itertools.accumulate((traits[i].units for i in order), initial=0))
  ranges: dict[str, slice] = {}
  for i, begin, end in zip(order, ends, ends[1:], strict=False):
    if clipped[i]:
      first = ranges[parts[i]].start if parts[i] in ranges else begin
      ranges[parts[i]] = slice(first, end)
  return Layout(order, [traits[i] for i in order], list(itertools.starmap(Part, ranges.items())))
