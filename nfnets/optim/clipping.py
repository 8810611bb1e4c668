"""How much of each part of a network gradient clipping holds back: a figure for the log."""

from collections.abc import Collection, Sequence
from typing import Any

import jax
import optax

from nfnets.optim.agc import Norm, UnitSquares, check_arguments, clipped_fraction, unit_squares
from nfnets.optim.depths import in_places, place_tree, stage_of
from nfnets.optim.groups import CLIPPED_GROUPS, Group
from nfnets.optim.masks import clip_mask

ALL = 'all'


def clipped_fractions(
  gradients: optax.Updates,
  params: optax.Params,
  clipping: jax.typing.ArrayLike,
  *,
  depths: Sequence[int],
  eps: jax.typing.ArrayLike = 1e-3,
  norm: Norm = 'unit',
  groups: Sequence[Group] = CLIPPED_GROUPS,
  unclipped: Collection[str] = (),
  clip_skip_gains: bool = True,
  frozen: Collection[str] = (),
) -> dict[str, jax.Array]:
  """The fraction of units that `sgd_agc` with the same arguments clips, part by part.

  Nothing is kept in the optimizer's state for it; beside the update in one `jit`, the norms are
  computed only once.

  Args:
    gradients: module path -> name -> array, before clipping.
    params: the parameters, in the same structure.
    clipping: largest ratio of gradient norm to weight norm.
    depths: how many blocks each stage of the network has.
    eps: the least weight norm counted.
    norm: 'unit', 'layer' or 'global'; see `adaptive_grad_clip`.
    groups: the parameter groups that are clipped.
    unclipped: the places that are not; see `clip_mask`.
    clip_skip_gains: whether the gains at the end of the branches are; see `clip_mask`.
    frozen: the places whose parameters stay as they are.

  Returns:
    Float32 scalars: that of 'all' units, and those of the parts 'stem', 'stage_0', ..., 'neck' and
    'head'.  Parts that have no units are left out.

  Raises:
    InputError: an argument is out of its range, or names are not those of a network of `depths`.
  """
  check_arguments(clipping, eps, norm)
  mask = clip_mask(groups, unclipped=unclipped, skip_gains=clip_skip_gains)
  is_clipped, is_frozen = mask(params), in_places(frozen)(params)

  def seen(tree: Any) -> Any:
    # As optax.masked does it: what AGC does not see is no leaf, for norm='global' above all.
    return jax.tree.map(
      lambda inside, fixed, x: x if inside and not fixed else optax.MaskedNode(),
      is_clipped, is_frozen, tree,
    )  # fmt: skip

  units = unit_squares(seen(gradients), seen(params), norm)
  parts: dict[str, list[UnitSquares]] = {ALL: units}
  for place, unit in zip(jax.tree.leaves(place_tree(seen(params))), units, strict=True):
    parts.setdefault(stage_of(place, depths), []).append(unit)
  return {part: clipped_fraction(of_part, clipping, eps) for part, of_part in parts.items()}
