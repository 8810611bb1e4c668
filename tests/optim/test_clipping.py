"""The share of clipped units, part by part: counted by hand, and as the optimizer does."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nfnets
from nfnets.errors import InputError
from nfnets.optim import clipped_fractions, read_clipped_fraction, sgd_agc

DEPTHS = (1, 2)
# Every unit has the norm 1, and its gradient the norm that stands here: clipped above 0.5.
NORMS = {
  'NFNet/~/stem_conv0': {'w': [0.1, 0.9], 'gain': [0.2]},
  'NFNet/~/nf_block/~/conv0': {'w': [0.1, 0.2, 0.3, 0.4]},
  'NFNet/~/nf_block_1/~/conv0': {'w': [0.9, 0.2]},
  'NFNet/~/nf_block_2': {'skip_gain': [0.9]},
  'NFNet/~/nf_block_2/~/squeeze_excite/~/linear': {'w': [0.9, 0.1], 'b': [0.1]},
  'NFNet/~/final_conv': {'w': [0.7, 0.8]},
  'NFNet/~/linear': {'w': [0.9, 0.9, 0.9], 'b': [0.9]},
}


def kernel(norms: list[float]) -> np.ndarray:
  """[2, units] whose columns have these norms; one alone is a vector."""
  rows = np.float32([[0.6], [0.8]])
  return rows[:, 0] * np.float32(norms) if len(norms) == 1 else rows * np.float32(norms)


GRADIENTS = jax.tree.map(kernel, NORMS, is_leaf=lambda x: isinstance(x, list))
PARAMS = jax.tree.map(
  lambda norms: kernel([1.0] * len(norms)), NORMS, is_leaf=lambda x: isinstance(x, list)
)


def fractions(clipping: float = 0.5, **options) -> dict[str, float]:
  found = clipped_fractions(GRADIENTS, PARAMS, clipping, depths=DEPTHS, **options)
  assert {(x.shape, x.dtype) for x in found.values()} == {((), jnp.dtype('float32'))}
  return jax.tree.map(float, found)


def test_every_part_counts_its_own_units():
  found = fractions()
  assert found == pytest.approx(
    {'all': 7 / 16, 'stem': 1 / 3, 'stage_0': 0, 'stage_1': 3 / 6, 'neck': 1, 'head': 1}
  )


def test_frozen_parts_and_groups_that_are_not_clipped_have_no_units():
  found = fractions(frozen={'stem', 'block_0', 'block_1', 'stage_0'}, groups=('weights',))
  assert found == pytest.approx({'all': 3 / 4, 'stage_1': 1 / 2, 'neck': 1})
  found = fractions(groups=('classifier',))
  assert found == pytest.approx({'all': 1, 'head': 1})


def test_one_norm_for_all_is_taken_over_what_is_clipped_only():
  # Without the frozen parts and the classifier the norm is that of one unit among 16 of norm 1.
  frozen = {'stem', 'block_1', 'block_2', 'neck', 'head'}
  norm = np.linalg.norm([0.1, 0.2, 0.3, 0.4]) / np.sqrt(4)
  options = {'frozen': frozen, 'norm': 'global'}
  assert fractions(norm * 0.999, **options) == {'all': 1, 'stage_0': 1}
  assert fractions(norm * 1.001, **options) == {'all': 0, 'stage_0': 0}


@pytest.mark.parametrize('frozen', [(), ('stem', 'block_0', 'block_1')], ids=len)
@pytest.mark.parametrize('norm', ['unit', 'layer', 'global'])
def test_all_is_what_the_optimizer_clips(norm, frozen):
  rng = np.random.default_rng(0)
  gradients = jax.tree.map(lambda g: g * np.float32(rng.uniform(0, 2)), GRADIENTS)
  for clipping in (0.3, 0.5, 0.7):
    optimizer = sgd_agc(0.1, clipping=clipping, clip_eps=1.1, clip_norm=norm, frozen=frozen)
    _, state = optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)
    found = clipped_fractions(
      gradients, PARAMS, clipping, depths=DEPTHS, eps=1.1, norm=norm, frozen=frozen
    )
    assert found['all'] == read_clipped_fraction(state)


def test_names_and_depths_must_belong_together():
  with pytest.raises(InputError, match=r"^place='block_2': stages of \[1, 1\] blocks have 2$"):
    clipped_fractions(GRADIENTS, PARAMS, 0.5, depths=(1, 1))


def test_the_units_are_summed_once():
  """Beside the update, the fractions add no pass over the gradients to the compiled program."""
  optimizer = sgd_agc(0.1, clipping=0.5)

  def update(gradients, state, params):
    return optimizer.update(gradients, state, params)

  def both(gradients, state, params):
    found = clipped_fractions(gradients, params, 0.5, depths=DEPTHS)
    return optimizer.update(gradients, state, params), found

  def squares(function) -> int:
    compiled = jax.jit(function).lower(GRADIENTS, optimizer.init(PARAMS), PARAMS).compile()
    return len(re.findall(r' multiply\(([^,]+), \1\)', compiled.as_text()))

  assert squares(both) == squares(update) > 0


@pytest.mark.parametrize('name', ['nfnet_f0', 'resnet50', 'fixup_resnet50'])
def test_the_parts_of_real_networks(name: str):
  model = nfnets.create_model(name)
  params, _ = model.shapes()
  depths = model.variant.depths

  def count(params):
    return clipped_fractions(params, params, 0.01, depths=depths)

  found = jax.eval_shape(count, params)
  neck = {'neck'} if any('final' in module for module in params) else set()
  assert set(found) == {'all', 'stem', *(f'stage_{i}' for i in range(4)), *neck, 'head'}
