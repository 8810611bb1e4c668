"""The larger settings of claims on training: no GPU is needed to see that their steps fit together.

A step of every network and recipe is traced, with shapes for images; nothing is computed.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest

from nfnets.claims.beds.gradients import Pixels
from nfnets.claims.beds.images import Images, Split
from nfnets.claims.beds.network import Network
from nfnets.claims.beds.norm_bed import Bed, Ghost
from nfnets.claims.beds.recipe import Recipe, make_optimizer, scales_of
from nfnets.claims.beds.runs import Run
from nfnets.claims.beds.sweep import Sweep
from nfnets.claims.beds.training import _step
from nfnets.claims.claim import Claim, Scale
from nfnets.claims.table import CLAIMS
from nfnets.data.datasets import DATASETS

CIFAR10 = DATASETS['cifar10']
PIXELS = Pixels(mean=CIFAR10.mean, std=CIFAR10.std, classes=CIFAR10.num_classes)
SPLIT = Split(
  jax.ShapeDtypeStruct((50_000, 32, 32, 3), jnp.uint8),
  jax.ShapeDtypeStruct((50_000,), jnp.int32),
)
IMAGES = Images(CIFAR10, SPLIT, SPLIT)


def trained(cell: object) -> tuple[Network, Recipe] | None:
  """What a cell trains, and how; None for cells that train nothing, or on their own."""
  cell = getattr(cell, 'run', cell)
  if isinstance(cell, Run):
    return cell.net.model(CIFAR10.num_classes, 3), cell.recipe
  if isinstance(cell, Sweep):
    return cell.network, dataclasses.replace(cell.recipe, learning_rate=cell.rates[0])
  bed = getattr(cell, 'bed', None)
  if not isinstance(bed, Bed):
    return None
  size = getattr(cell, 'size', getattr(cell, 'group', None))
  return Ghost(bed.model(IMAGES), size) if size else bed.model(IMAGES), bed.recipe


def is_of_training(claim: Claim) -> bool:
  setting = claim.settings.get(Scale.GPU)
  return setting is not None and all(map(trained, setting.cells.values()))


TRAINING = [claim for claim in CLAIMS if is_of_training(claim)]


@functools.cache
def traced(network: Network, fixed: Recipe, scales: tuple) -> bool:
  """Whether a step gives back what it takes, in shapes, and two means."""
  params, state = jax.eval_shape(network.init, jax.random.key(0))
  carry = params, state, jax.eval_shape(make_optimizer(fixed).init, params)
  places = jax.ShapeDtypeStruct((fixed.batch_size,), jnp.int32)
  after, means = jax.eval_shape(
    functools.partial(_step, network, fixed, PIXELS), carry, SPLIT,
    (places, jax.random.key(0), scales),
  )  # fmt: skip
  assert [mean.shape for mean in means] == [(), ()]
  return jax.tree.map(_kind, carry) == jax.tree.map(_kind, after)


def _kind(leaf: jax.ShapeDtypeStruct) -> tuple:
  return leaf.shape, leaf.dtype


def test_most_claims_on_training_are_tried_here():
  assert len(TRAINING) >= 27


@pytest.mark.slow
@pytest.mark.parametrize('claim', TRAINING, ids=lambda claim: claim.name)
def test_steps_can_be_traced(claim: Claim):
  for name, cell in claim.settings[Scale.GPU].cells.items():
    network, recipe = trained(cell) or pytest.fail(name)
    assert recipe.steps > 0
    assert traced(network, recipe.unscaled(), scales_of(recipe)(0)), name
