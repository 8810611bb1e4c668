"""What of a network gradient clipping sees."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import optax

from nfnets.optim.depths import in_places
from nfnets.optim.groups import CLIPPED_GROUPS, Group, in_groups
from nfnets.optim.labels import label_tree

SKIP_GAIN = 'skip_gain'


def clip_mask(
  groups: Sequence[Group] = CLIPPED_GROUPS,
  *,
  unclipped: Collection[str] = (),
  skip_gains: bool = True,
) -> Callable[[optax.Params], Any]:
  """A mask for `optax.masked`: the function params -> tree of bools, True where AGC clips.

  The paper clips all but the kernel of the classifier (arXiv 2102.06171, section 4.1); the other
  choices are there to be compared with it.

  Args:
    groups: the parameter groups that are clipped.
    unclipped: the places ('stem', 'block_0', ...; see `nfnets.optim.depths`) that are not;
      `stage_places` has those of a stage.
    skip_gains: whether the gains at the end of the branches are clipped.  The paper does.  But one
      that starts at zero can then grow by at most about clipping * eps * learning rate / (1 -
      momentum) in a step, and a run of a few hundred steps trains a network whose branches are
      still off.

  Raises:
    InputError: a group does not exist; in the function, names are not those of a network.
  """
  inside = in_groups(*groups)

  def mask(params: optax.Params) -> Any:
    clipped = inside(params)
    if unclipped:
      clipped = _without(clipped, in_places(unclipped)(params))
    if not skip_gains:
      clipped = _without(clipped, label_tree(lambda _, name: name, params), SKIP_GAIN)
    return clipped

  return mask


def _without(clipped: Any, labels: Any, label: Any = True) -> Any:
  """`clipped`, False where `labels` has `label`."""
  return jax.tree.map(lambda inside, found: inside and found != label, clipped, labels)
