"""How parameters move: clipping, groups, schedules, averages.  Knows parameter names, no models."""

from nfnets.optim.agc import (
  AdaptiveGradClipState,
  UnitCount,
  adaptive_grad_clip,
  clipped_units,
  read_clipped_fraction,
)
from nfnets.optim.ema import ema_decay, update_ema
from nfnets.optim.groups import Group, group_of, group_tree, in_groups
from nfnets.optim.optimizers import sgd_agc
from nfnets.optim.schedules import peak_learning_rate, warmup_cosine

__all__ = [
  'AdaptiveGradClipState',
  'Group',
  'UnitCount',
  'adaptive_grad_clip',
  'clipped_units',
  'ema_decay',
  'group_of',
  'group_tree',
  'in_groups',
  'peak_learning_rate',
  'read_clipped_fraction',
  'sgd_agc',
  'update_ema',
  'warmup_cosine',
]
