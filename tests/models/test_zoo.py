"""The zoo: every tree as released."""

import dataclasses
import itertools
import json
import pathlib

import jax
import numpy as np
import pytest
from golden.record_zoo import tree_digest
from models.trees import init_shapes, shapes

import nfnets
from nfnets.models.inspection import count_cost
from nfnets.models.variants import VARIANTS

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
TREES = json.loads((GOLDEN / 'param_trees.json').read_text())
ZOO = json.loads((GOLDEN / 'zoo.json').read_text())
TIMM = json.loads((GOLDEN / 'timm_trees.json').read_text())
TRAINED_TINY = json.loads((GOLDEN / 'train_nfnet_tiny.json').read_text())['param_norms']
KEY = jax.random.key(0)
ECA_NFNETS = [f'eca_nfnet_l{i}' for i in range(4)]
SCHEMES = ('', 'skipinit_', 'sqrt2_', 'fixup_', 'nf_')

# Tracing takes a second for every 30 blocks: the other networks are traced by `make test-all`.
FAST = {
  *('nfnet_f0', 'nfnet_f1', 'nfnet_tiny'),
  *('nfnet_l0', 'eca_nfnet_l0', 'test_nfnet'),
  *('nf_resnet50', 'timm_nf_resnet50', 'nf_seresnet50', 'nf_ecaresnet50'),
  *('nf_regnet_b0', 'timm_nf_regnet_b1'),
  *('resnet50', 'skipinit_resnet50', 'fixup_resnet50', 'resnet50_v1'),
  *(f'{scheme}wide_resnet_16_4' for scheme in SCHEMES),
}
# Compiled quickly; the others' layers are computed by the tests against the released code.
SMALL = {
  *('nfnet_tiny', 'test_nfnet'),
  *(f'{scheme}wide_resnet_16_2' for scheme in SCHEMES),
}
DEPTHS = (50, 101, 152, 200, 288, 600)
# Networks that the released code has no tree for; tests below derive theirs from those it has, or
# hold them to timm's.
WITHOUT_TREE = {
  'nfnet_tiny',
  *(name for name in VARIANTS if 'wide_resnet' in name),
  *(name for name, row in VARIANTS.items() if row.rounding == 'eights'),
  *(f'resnet{depth}_v1' for depth in DEPTHS),
  *(f'{kind}_resnet{depth}' for kind in ('skipinit', 'fixup') for depth in DEPTHS[1:]),
}


def each(names):
  return [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in names]


@pytest.mark.parametrize(
  'name', each(['nfnet_tiny', 'nf_resnet50', 'nf_regnet_b0', 'resnet50_v1', 'fixup_resnet50'])
)
def test_shapes_are_those_of_what_init_makes(name):
  model = nfnets.create_model(name)
  assert init_shapes(model) == tuple(map(shapes, jax.eval_shape(model.init, KEY)))


def test_every_network_has_a_golden_tree():
  assert set(nfnets.list_models()) - set(TREES) == WITHOUT_TREE


@pytest.mark.parametrize('name', each(sorted(set(VARIANTS) - WITHOUT_TREE)))
def test_the_tree_is_that_of_the_released_code(name):
  params, state = init_shapes(nfnets.create_model(name))
  assert params == TREES[name]['params']
  assert state == TREES[name]['state']


def test_every_network_is_written_down():
  """A new variant: `tests/golden/record_zoo.py`, and compare with a source of its own."""
  assert list(ZOO) == list(VARIANTS)


@pytest.mark.parametrize('name', each(sorted(VARIANTS)))
def test_tree_parameters_and_multiply_adds_are_as_written_down(name):
  model = nfnets.create_model(name)
  found = (*count_cost(model), tree_digest(model))
  assert found == (ZOO[name]['parameters'], ZOO[name]['macs'], ZOO[name]['tree'])


@pytest.mark.parametrize(
  'name', [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in VARIANTS]
)
def test_images_pass_forward_and_do_not_see_each_other(name):
  """With fresh parameters of gain 1, so that every layer takes part."""
  model = nfnets.Model(name, dataclasses.replace(VARIANTS[name], skip_gain=1.0), num_classes=10)
  params, state = model.init(KEY)
  images = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
  apply = jax.jit(model.apply)
  outputs, _ = apply(params, state, None, images)
  assert outputs['logits'].shape == (2, 10)
  assert np.all(np.isfinite(outputs['logits']))
  assert np.std(outputs['pool']) > 0
  others, _ = apply(params, state, None, np.stack([images[0], 1 - 3 * images[1]]))
  np.testing.assert_array_equal(others['pool'][0], outputs['pool'][0])
  assert np.any(others['pool'][1] != outputs['pool'][1])


@pytest.mark.parametrize(
  'name', ['nfnet_l0', *ECA_NFNETS, 'nf_seresnet50', 'nf_ecaresnet50', 'test_nfnet']
)
def test_networks_of_timm_have_its_number_of_parameters(name):
  assert ZOO[name]['parameters'] == TIMM[name]['parameters']


@pytest.mark.parametrize(
  ('ours', 'timms'), [('timm_nf_resnet50', 'nf_resnet50'), ('timm_nf_regnet_b1', 'nf_regnet_b1')]
)
def test_networks_whose_names_were_taken_have_timms_number_of_parameters(ours, timms):
  assert ZOO[ours]['parameters'] == TIMM[timms]['parameters']


@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize(('layers', 'factor'), [(16, 4), (16, 2), (100, 2), (1000, 2)])
def test_wide_resnets_have_the_parameters_of_their_formula(scheme, layers, factor):
  blocks, widths = (layers - 4) // 6, [16, 16 * factor, 32 * factor, 64 * factor]
  kernels, outputs, inputs = 27 * 16, 16, 0  # of the stem
  for before, width in itertools.pairwise(widths):
    kernels += 9 * before * width + (2 * blocks - 1) * 9 * width**2 + before * width
    outputs += (2 * blocks + 1) * width  # of all convolutions, the shortcut's too
    inputs += before + (2 * blocks - 1) * width  # of those in the branches
  inputs += widths[-1]  # of the classifier
  beside = {
    '': 2 * inputs,  # scale and offset of a normalization before each of them
    'skipinit_': outputs - 16 + 3 * blocks,  # biases but the stem's, and a gain for each block
    'sqrt2_': outputs - 16,
    'fixup_': 5 * 3 * blocks + 2,  # four biases and a scale for each block; two outside
    'nf_': 2 * outputs + 3 * blocks,
  }
  expected = kernels + beside[scheme] + 1000 * widths[-1] + 1000
  assert ZOO[f'{scheme}wide_resnet_{layers}_{factor}']['parameters'] == expected


@pytest.mark.parametrize('name', sorted(set(VARIANTS) - WITHOUT_TREE))
def test_what_is_written_down_is_what_the_released_code_counts(name):
  parameters, macs = ZOO[name]['parameters'], ZOO[name]['macs']
  tree = TREES[name]
  assert VARIANTS[name].test_size == tree['image_size']
  assert parameters == tree['num_params']
  # The released counter fails on some families, and halves odd sizes to fractions.
  if tree['macs'] is not None and tree['image_size'] % 32 == 0:
    assert macs == tree['macs']


def test_the_golden_counts_are_the_published_ones():
  # arXiv 2102.06171, Table 3: multiply-adds in 1e9, parameters in 1e6.
  published = {
    'nfnet_f0': (12.38, 71.5),
    'nfnet_f1': (35.54, 132.6),
    'nfnet_f2': (62.59, 193.8),
    'nfnet_f3': (114.76, 254.9),
    'nfnet_f4': (215.24, 316.1),
    'nfnet_f5': (289.76, 377.2),
    'nfnet_f6': (377.28, 438.4),
  }
  for name, (macs, parameters) in published.items():
    assert round(TREES[name]['macs'] / 1e9, 2) == macs
    assert round(TREES[name]['num_params'] / 1e6, 1) == parameters


@pytest.mark.parametrize(
  ('name', 'parameters', 'macs'),
  [
    # Published with He et al. 2015 (arXiv 1512.03385) and counted alike by every library since.
    ('resnet50_v1', 25_557_032, 4_089_184_256),
    ('resnet101_v1', 44_549_160, 7_801_405_440),
    ('resnet152_v1', 60_192_808, 11_513_626_624),
  ],
)
def test_the_post_activation_networks_have_the_well_known_counts(name, parameters, macs):
  assert (ZOO[name]['parameters'], ZOO[name]['macs']) == (parameters, macs)


@pytest.mark.parametrize('depth', [101, pytest.param(600, marks=pytest.mark.slow)])
def test_skipinit_has_the_tree_of_the_normalizer_free_network_without_gains(depth):
  params, _ = init_shapes(nfnets.create_model(f'skipinit_resnet{depth}'))
  expected = {}
  for module, leaves in TREES[f'nf_resnet{depth}']['params'].items():
    module = module.replace('NF_ResNet', 'SkipInit_ResNet')
    plain = {{'bias': 'b'}.get(name, name): shape for name, shape in leaves.items()}
    plain.pop('gain', None)
    expected[module] = plain
  del expected['SkipInit_ResNet/~/initial_conv']['b']
  assert params == expected


@pytest.mark.parametrize('depth', [101, pytest.param(600, marks=pytest.mark.slow)])
def test_fixup_has_seven_numbers_a_block_and_the_convolutions_of_resnet(depth):
  params, _ = init_shapes(nfnets.create_model(f'fixup_resnet{depth}'))
  convs = {
    module.replace('ResNet/', 'FixUp_ResNet/').replace('res_block_v2', 'res_block'): leaves
    for module, leaves in TREES[f'resnet{depth}']['params'].items()
    if '/bn' not in module and 'final_bn' not in module
  }
  assert {module: leaves for module, leaves in params.items() if 'w' in leaves} == convs
  scalars = [leaves for leaves in params.values() if 'w' not in leaves]
  blocks = [leaves for leaves in scalars if len(leaves) == 7]
  assert len(blocks) == sum(VARIANTS[f'fixup_resnet{depth}'].depths)
  assert [leaves for leaves in scalars if len(leaves) != 7] == [{'bias1': [], 'bias2': []}]
  assert all(shape == [] for leaves in scalars for shape in leaves.values())


def test_the_tiny_network_has_the_leaves_of_the_released_code():
  params, state = init_shapes(nfnets.create_model('nfnet_tiny', 10))
  assert {f'{module}//{name}' for module in params for name in params[module]} == set(TRAINED_TINY)
  assert state == {}
  # Width 128 in stage 1: half of it in two groups of 32.
  assert params['NFNet/~/stem_conv3']['w'] == [3, 3, 64, 32]
  assert params['NFNet/~/nf_block_1/~/conv1']['w'] == [3, 3, 32, 64]
  assert params['NFNet/~/nf_block_4/~/conv2']['w'] == [1, 1, 128, 256]
  assert params['NFNet/~/linear']['w'] == [512, 10]
