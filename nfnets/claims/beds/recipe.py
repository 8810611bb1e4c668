"""How small networks are trained: every number of it, and the optimizer that follows."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optax

from nfnets.augment.augment import Augmentation
from nfnets.optim.agc import Norm
from nfnets.optim.groups import CLIPPED_GROUPS, Group
from nfnets.optim.optimizers import sgd_agc
from nfnets.optim.schedules import warmup_cosine

NO_AUGMENTATION = Augmentation(mixup=None, cutmix=None, distinct=False, layers=0)


class Sam(NamedTuple):
  """Sharpness-aware minimization: how far it looks, and what its direction comes from."""

  rho: float
  share: float = 1.0
  """Of the batch."""
  same: bool = True
  """Whether these examples are of the batch itself; otherwise as many others, drawn at random."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """How a network is trained: SGD with Nesterov momentum, and what the papers add to it."""

  batch_size: int
  steps: int
  learning_rate: float
  """At its peak; half a cosine leads from there to 0."""
  seed: int = 0
  """Of the parameters, of the order of the images and of all that is random in a step."""
  warmup_steps: int = 0
  constant_rate: bool = False
  """Whether the rate stays at its peak after the warm-up."""
  momentum: float = 0.9
  weight_decay: float = 0.0
  clipping: float | None = None
  """Of AGC; None for none."""
  clip_norm: Norm = 'unit'
  clip_groups: tuple[Group, ...] = CLIPPED_GROUPS
  unclipped: tuple[str, ...] = ()
  """Places that AGC does not see; see `nfnets.optim.clip_mask`."""
  clip_skip_gains: bool = True
  max_norm: float | None = None
  """Of the gradient of all parameters together, which is scaled down to it; None for any."""
  label_smoothing: float = 0.0
  padding: int = 0
  """Images are cut out of a frame of so many zeros."""
  flip: bool = False
  """Whether half of the images are mirrored."""
  augmentation: Augmentation = NO_AUGMENTATION
  """What is done after that; images are mixed with their neighbours in the batch."""
  sam: Sam | None = None

  def unscaled(self) -> 'Recipe':
    """The recipe without what a compiled step is given: rate, clipping and the largest norm."""
    return dataclasses.replace(
      self,
      learning_rate=1.0,
      steps=1,
      warmup_steps=0,
      seed=0,
      clipping=None if self.clipping is None else 1.0,
      max_norm=None if self.max_norm is None else 1.0,
    )


class Scales(NamedTuple):
  """What a compiled step is given, so that it serves all values of them."""

  learning_rate: Any
  clipping: Any
  max_norm: Any

  def put_into(self, recipe: Recipe) -> Recipe:
    """The recipe of one step."""
    return dataclasses.replace(recipe, **self._asdict())


def scales_of(recipe: Recipe) -> Callable[[int], Scales]:
  """Those of each step; the first learning rate is not 0."""
  steps = np.arange(recipe.steps)
  if recipe.constant_rate:
    rates = recipe.learning_rate * np.minimum(1.0, (steps + 1) / (recipe.warmup_steps + 1))
  else:
    schedule = warmup_cosine(
      recipe.learning_rate, warmup_steps=recipe.warmup_steps, total_steps=recipe.steps + 1
    )
    rates = np.asarray(schedule(steps + 1 if recipe.warmup_steps else steps))
  return lambda step: Scales(rates[step], recipe.clipping, recipe.max_norm)


def make_optimizer(recipe: Recipe) -> optax.GradientTransformation:
  """The optimizer of a recipe, at the rate that it says."""
  optimizer = sgd_agc(
    recipe.learning_rate,
    momentum=recipe.momentum,
    weight_decay=recipe.weight_decay,
    clipping=recipe.clipping,
    clip_norm=recipe.clip_norm,
    clip_groups=recipe.clip_groups,
    unclipped=recipe.unclipped,
    clip_skip_gains=recipe.clip_skip_gains,
  )
  if recipe.max_norm is None:
    return optimizer
  return optax.chain(optax.clip_by_global_norm(recipe.max_norm), optimizer)
