"""How parameters move: clipping, groups, schedules, averages.  Knows parameter names, no models."""

from nfnets.optim.agc import (
  AdaptiveGradClipState,
  UnitCount,
  adaptive_grad_clip,
  clipped_units,
  read_clipped_fraction,
)
from nfnets.optim.clipping import clipped_fractions
from nfnets.optim.depths import (
  depth_tree,
  in_places,
  place_of,
  place_tree,
  scale_by_depth,
  stage_of,
  stage_places,
)
from nfnets.optim.ema import ema_decay, update_ema
from nfnets.optim.groups import Group, group_of, group_tree, in_groups
from nfnets.optim.masks import clip_mask
from nfnets.optim.optimizers import sgd_agc
from nfnets.optim.sam import ascend
from nfnets.optim.schedules import hold_and_halve, peak_learning_rate, warmup_cosine

__all__ = [
  'AdaptiveGradClipState',
  'Group',
  'UnitCount',
  'adaptive_grad_clip',
  'ascend',
  'clip_mask',
  'clipped_fractions',
  'clipped_units',
  'depth_tree',
  'ema_decay',
  'group_of',
  'group_tree',
  'hold_and_halve',
  'in_groups',
  'in_places',
  'peak_learning_rate',
  'place_of',
  'place_tree',
  'read_clipped_fraction',
  'scale_by_depth',
  'sgd_agc',
  'stage_of',
  'stage_places',
  'update_ema',
  'warmup_cosine',
]
