"""The optimizer that trains NFNets: SGD with adaptive gradient clipping."""

from collections.abc import Collection, Sequence

import optax

from nfnets.arguments import check_number
from nfnets.optim.agc import Norm, adaptive_grad_clip
from nfnets.optim.depths import in_places, scale_by_depth
from nfnets.optim.groups import CLIPPED_GROUPS, DECAYED_GROUPS, Group, in_groups
from nfnets.optim.masks import clip_mask


def sgd_agc(
  learning_rate: optax.ScalarOrSchedule,
  *,
  momentum: float = 0.9,
  nesterov: bool = True,
  weight_decay: float = 2e-5,
  clipping: float | None = 0.01,
  clip_eps: float = 1e-3,
  clip_norm: Norm = 'unit',
  clip_groups: Sequence[Group] = CLIPPED_GROUPS,
  unclipped: Collection[str] = (),
  clip_skip_gains: bool = True,
  decay_groups: Sequence[Group] = DECAYED_GROUPS,
  layer_decay: float | None = None,
  frozen: Collection[str] = (),
) -> optax.GradientTransformation:
  """AGC, then coupled weight decay, then (Nesterov) momentum, then the learning rate.

  The order is that of the released SGD_AGC: the decay is not clipped, and is part of the momentum.
  The defaults are the paper's (arXiv 2102.06171, section 4 and appendix A.1).

  Args:
    learning_rate: a number, or a function of the step.
    momentum: share of the velocity kept in each step, in [0, 1).
    nesterov: whether to look one step ahead.
    weight_decay: the multiple of the weight added to its gradient.
    clipping: largest ratio of gradient norm to weight norm; None switches AGC off.
    clip_eps: the least weight norm counted by AGC.
    clip_norm: 'unit', 'layer' or 'global'; see `adaptive_grad_clip`.
    clip_groups: the parameter groups that are clipped; see `nfnets.optim.groups`.
    unclipped: the places whose parameters AGC does not see; see `clip_mask`.
    clip_skip_gains: whether AGC sees the gains at the end of the branches; see `clip_mask`.
    decay_groups: the parameter groups that decay.
    layer_decay: ratio of the learning rates of one block and the next; see `scale_by_depth`.  None
      for one rate for all.
    frozen: the places ('stem', 'block_0', ...; see `nfnets.optim.depths`) whose parameters stay as
      they are.  They have no momentum, do not decay, and AGC does not see them.

  Returns:
    A transform for trees of module path -> name -> array; its `update` needs `params`.

  Raises:
    InputError: if an argument is out of its range.
  """
  if not callable(learning_rate):
    check_number('learning_rate', learning_rate, at_least=0)
  check_number('momentum', momentum, at_least=0, below=1)
  check_number('weight_decay', weight_decay, at_least=0)
  steps = [
    optax.add_decayed_weights(weight_decay, mask=in_groups(*decay_groups)),
    optax.trace(momentum, nesterov=nesterov),
    optax.scale_by_learning_rate(learning_rate),
  ]
  if layer_decay is not None:
    steps.append(scale_by_depth(layer_decay))
  if clipping is not None:
    clip = adaptive_grad_clip(clipping, clip_eps, norm=clip_norm)
    mask = clip_mask(clip_groups, unclipped=unclipped, skip_gains=clip_skip_gains)
    steps.insert(0, optax.masked(clip, mask))
  transform = optax.chain(*steps)
  if not frozen:
    return transform
  is_frozen = in_places(frozen)
  return optax.partition({False: transform, True: optax.set_to_zero()}, is_frozen)
