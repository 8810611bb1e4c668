import itertools
import json
import pathlib

import jax
import numpy as np
import optax
import pytest
from weights.timm_trees import load, root_of

import nfnets
from nfnets.errors import InputError
from nfnets.models.residual import feature_names
from nfnets.optim import depth_tree, in_places, place_of, place_tree, scale_by_depth, stage_of
from nfnets.weights.timm_names import from_timm

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'param_trees.json'
TREES = {
  name: {module: dict.fromkeys(leaves, np.empty(0)) for module, leaves in row['params'].items()}
  for name, row in json.loads(GOLDEN.read_text()).items()
}
TIMM = load()

# One of each family that the golden trees lack; within a family, paths differ in numbers only.
OTHERS = (
  'resnet50_v1', 'wide_resnet_16_2', 'skipinit_wide_resnet_16_2', 'sqrt2_wide_resnet_16_2',
  'fixup_wide_resnet_16_2', 'nf_wide_resnet_16_2', 'nfnet_tiny', 'test_nfnet',
)  # fmt: skip

PARAMS = {
  'NFNet/~/stem_conv0': {'w': np.ones((3, 2)), 'gain': np.ones(2)},
  'NFNet/~/nf_block': {'skip_gain': np.ones(())},
  'NFNet/~/nf_block_1/~/conv0': {'w': np.ones((3, 2))},
  'NFNet/~/final_conv': {'w': np.ones((3, 2))},
  'NFNet/~/linear': {'w': np.ones((3, 2)), 'b': np.ones(2)},
}


def check_places(name: str, params) -> None:
  """The places are the network's features, and the depths count them."""
  variant = nfnets.create_model(name).variant
  there_are = {place for place in feature_names(variant) if not place.startswith('stage_')}
  pairs = set(zip(*map(jax.tree.leaves, (place_tree(params), depth_tree(params))), strict=True))
  last = variant.num_blocks
  blocks = {(f'block_{i}', i + 1) for i in range(last)}
  assert pairs - {('neck', last)} == {('stem', 0), ('head', last + 1), *blocks}
  assert {place for place, _ in pairs} <= there_are | {'head'}


@pytest.mark.parametrize('name', TREES)
def test_every_parameter_of_every_network_has_its_place(name: str):
  check_places(name, TREES[name])


@pytest.mark.parametrize('name', OTHERS)
def test_depths_never_fall_on_the_way_through_a_network(name: str):
  params, _ = nfnets.create_model(name).shapes()  # in the order of the network
  check_places(name, params)
  depths = depth_tree(params)
  on_the_way = [max(depths[module].values()) for module in params if '/' in module]
  assert all(a <= b for a, b in itertools.pairwise(on_the_way))


@pytest.mark.parametrize('name', TIMM)
def test_a_tensor_of_timm_has_the_place_that_its_name_says(name: str):
  shapes = TIMM[name].shapes
  keys = list(shapes)
  numbered = {key: np.full(shapes[key], i, np.int16) for i, key in enumerate(keys)}
  blocks = sorted({tuple(map(int, k.split('.')[1:3])) for k in keys if k.startswith('stages.')})
  named = {f'stages.{s}.{b}': f'block_{i}' for i, (s, b) in enumerate(blocks)}
  named |= {'stem': 'stem', 'final_conv': 'neck', 'head': 'head'}

  def check_place(place: str, array: np.ndarray) -> None:
    first, *rest = keys[array.flat[0]].split('.')
    assert place == named['.'.join([first, *rest[:2]]) if first == 'stages' else first]

  params = from_timm(numbered, root_of(name))
  jax.tree.map(check_place, place_tree(params), params)


@pytest.mark.parametrize(
  ('module', 'name', 'place'),
  [
    ('NFNet/~/stem_conv3', 'w', 'stem'),
    ('NFNet/~/nf_block', 'skip_gain', 'block_0'),
    ('NFNet/~/nf_block_3', 'skip_gain', 'block_3'),
    ('NFNet/~/nf_block_12/~/squeeze_excite/~/linear', 'w', 'block_12'),
    ('NFNet/~/linear', 'b', 'head'),
    ('my_net/~/NFNet/~/final_conv', 'gain', 'neck'),
    ('ResNet/~/initial_bn', 'scale', 'stem'),
    ('ResNet/~/res_block_v1/shortcut_bn/~/mean_ema', 'average', 'block_0'),
    ('ResNet/~/res_block_v2_1/~/bn0', 'offset', 'block_1'),
    ('ResNet/~/final_bn/~/var_ema', 'counter', 'neck'),
    ('FixUp_ResNet', 'bias1', 'stem'),
    ('FixUp_ResNet', 'bias2', 'head'),
    ('FixUp_ResNet/~/res_block_2', 'bias1a', 'block_2'),
  ],
)
def test_single_names(module: str, name: str, place: str):
  assert place_of(module, name) == place


@pytest.mark.parametrize(('module', 'name'), [('mlp/~/dense', 'w'), ('NFNet', 'b'), ('', 'w')])
def test_a_name_without_a_place_is_told(module: str, name: str):
  with pytest.raises(InputError, match=f'{module!r} {name!r} has no place among stem, blocks'):
    place_of(module, name)


def test_masks_are_true_inside_the_places():
  inside = in_places({'stem', 'block_1', 'stage_0'})(PARAMS)
  assert {module for module, leaves in inside.items() if any(leaves.values())} == {
    'NFNet/~/stem_conv0',
    'NFNet/~/nf_block_1/~/conv0',
  }


def test_each_depth_takes_smaller_steps_than_the_next():
  transform = scale_by_depth(0.5)
  updates, _ = transform.update(PARAMS, transform.init(PARAMS))
  factors = [{float(np.max(x)) for x in updates[module].values()} for module in PARAMS]
  # The neck goes with the last block, as in timm.
  assert factors == [{1 / 8}, {1 / 4}, {1 / 2}, {1 / 2}, {1}]


@pytest.mark.parametrize('left_out', [1, 2, 3, 4])
def test_factors_count_from_the_head(left_out: int):
  """What is frozen at the start of a network does not change the steps of the rest."""
  rest = dict(list(PARAMS.items())[left_out:])
  transform = scale_by_depth(0.5)
  of_all, of_rest = (transform.update(p, transform.init(p))[0] for p in (PARAMS, rest))
  if left_out == 3:  # without any block the neck is where a block would be
    assert of_rest['NFNet/~/final_conv']['w'][0, 0] == 0.5
  jax.tree.map(np.testing.assert_array_equal, of_rest, {m: of_all[m] for m in rest})


def test_a_decay_of_one_changes_nothing():
  transform = scale_by_depth(1)
  updates, _ = transform.update(PARAMS, transform.init(PARAMS))
  jax.tree.map(np.testing.assert_array_equal, updates, PARAMS)


@pytest.mark.parametrize('decay', [0, 1.1, float('nan'), None])
def test_a_wrong_decay_is_named(decay):
  with pytest.raises(InputError, match=f'^layer_decay={decay}: must be one finite number > 0 and'):
    scale_by_depth(decay)


def test_it_is_an_ordinary_transform():
  chain = optax.chain(optax.scale(2.0), scale_by_depth(0.5))
  updates, _ = jax.jit(chain.update)(PARAMS, chain.init(PARAMS), PARAMS)
  assert updates['NFNet/~/linear']['b'].tolist() == [2, 2]
  assert updates['NFNet/~/nf_block']['skip_gain'] == 0.5


def test_the_stage_of_a_block_follows_from_the_depths():
  depths = (1, 2, 6, 3)
  stages = [stage_of(f'block_{i}', depths) for i in range(12)]
  assert stages == ['stage_0', *['stage_1'] * 2, *['stage_2'] * 6, *['stage_3'] * 3]
  assert [stage_of(place, depths) for place in ('stem', 'neck', 'head')] == ['stem', 'neck', 'head']
  with pytest.raises(InputError, match=r"^place='block_12': stages of \[1, 2, 6, 3\] blocks"):
    stage_of('block_12', depths)
