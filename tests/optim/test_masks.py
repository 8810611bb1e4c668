"""What AGC sees: by group, by place, and with or without the gains of the branches."""

import jax
import numpy as np
import pytest

from nfnets.errors import InputError
from nfnets.optim import clip_mask, clipped_fractions, read_clipped_fraction, sgd_agc, stage_places

DEPTHS = (1, 2)
PARAMS = {
  'NFNet/~/stem_conv0': {'w': (2, 2), 'gain': (2,)},
  'NFNet/~/nf_block': {'skip_gain': ()},
  'NFNet/~/nf_block/~/conv0': {'w': (2, 3)},
  'NFNet/~/nf_block_1/~/conv0': {'w': (3, 4), 'gain': (4,)},
  'NFNet/~/nf_block_2': {'skip_gain': ()},
  'NFNet/~/final_conv': {'w': (4, 2)},
  'NFNet/~/linear': {'w': (2, 3), 'b': (3,)},
}
PARAMS = jax.tree.map(
  lambda shape: np.ones(shape, np.float32), PARAMS, is_leaf=lambda x: isinstance(x, tuple)
)


def clipped(*groups, **options) -> set[str]:
  """'module name' of every parameter that the mask lets AGC see."""
  mask = clip_mask(*groups, **options)(PARAMS)
  return {
    f'{module.removeprefix("NFNet/~/")} {name}'
    for module, leaves in mask.items()
    for name, inside in leaves.items()
    if inside
  }


EVERYTHING = clipped(('weights', 'gains_biases', 'classifier'))


def test_by_default_all_but_the_kernel_of_the_classifier():
  assert len(EVERYTHING) == 10
  assert EVERYTHING - clipped() == {'linear w'}


def test_a_stage_left_out():
  assert clipped() - clipped(unclipped=stage_places(1, DEPTHS)) == {
    'nf_block_1/~/conv0 w', 'nf_block_1/~/conv0 gain', 'nf_block_2 skip_gain',
  }  # fmt: skip
  assert clipped() - clipped(unclipped={'stem', 'head'}) == {
    'stem_conv0 w', 'stem_conv0 gain', 'linear b',
  }  # fmt: skip


def test_skip_gains_left_out():
  assert clipped() - clipped(skip_gains=False) == {'nf_block skip_gain', 'nf_block_2 skip_gain'}


@pytest.mark.parametrize('stage', [-1, 2])
def test_a_stage_that_is_not_there(stage: int):
  with pytest.raises(InputError, match=f'^stage={stage}: must be 0 to 1$'):
    stage_places(stage, DEPTHS)


@pytest.mark.parametrize(
  'options',
  [{}, {'unclipped': stage_places(0, DEPTHS)}, {'clip_skip_gains': False}],
  ids=['paper', 'stage', 'skip gains'],
)
def test_the_optimizer_clips_what_the_mask_shows(options):
  """Every gradient is as large as its weight: all units that are seen are clipped a hundredfold."""
  optimizer = sgd_agc(1.0, momentum=0.0, nesterov=False, weight_decay=0.0, **options)
  updates, state = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
  mask = clip_mask(
    unclipped=options.get('unclipped', ()), skip_gains=options.get('clip_skip_gains', True)
  )(PARAMS)
  wanted = jax.tree.map(lambda inside, x: x * (-0.01 if inside else -1.0), mask, PARAMS)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), updates, wanted)
  assert read_clipped_fraction(state) == 1
  found = clipped_fractions(PARAMS, PARAMS, 0.01, depths=DEPTHS, **options)
  assert ('stage_0' in found) == ('unclipped' not in options)
  assert all(fraction == 1 for fraction in found.values())


def test_of_one_norm_for_all_only_what_is_seen_is_counted():
  gradients = jax.tree.map(lambda x: 0.005 * x, PARAMS)
  gradients['NFNet/~/nf_block'] = {'skip_gain': np.float32(100)}
  for seen in (True, False):
    optimizer = sgd_agc(1.0, clip_norm='global', clip_skip_gains=seen)
    _, state = optimizer.update(gradients, optimizer.init(PARAMS), PARAMS)
    assert read_clipped_fraction(state) == seen
