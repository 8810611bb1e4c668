"""The zoo: every tree as released, names and options."""

import dataclasses
import inspect
import itertools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden.record_zoo import tree_digest

import nfnets
from nfnets.errors import InputError
from nfnets.models.inspection import count_cost
from nfnets.models.variants import VARIANTS

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
TREES = json.loads((GOLDEN / 'param_trees.json').read_text())
ZOO = json.loads((GOLDEN / 'zoo.json').read_text())
TIMM = json.loads((GOLDEN / 'timm_trees.json').read_text())
TRAINED_TINY = json.loads((GOLDEN / 'train_nfnet_tiny.json').read_text())['param_norms']
F0 = VARIANTS['nfnet_f0']
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
  *('nfnet_tiny', 'test_nfnet', 'nf_ecaresnet50'),
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


def shapes(tree):
  return {
    module: {name: list(leaf.shape) for name, leaf in leaves.items()}
    for module, leaves in tree.items()
  }


def init_shapes(model):
  return tuple(map(shapes, model.shapes()))


def dtypes(tree):
  return {leaf.dtype for leaf in jax.tree.leaves(tree)}


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


def test_parameters_are_float32_and_start_as_they_should():
  params, state = nfnets.create_model('nfnet_tiny').init(KEY)
  assert dtypes(params) == {jnp.dtype('float32')}
  assert state == {}
  body = [name for name in params if name != 'NFNet/~/linear']
  for name in body:
    for leaf, value in params[name].items():
      if leaf == 'w':
        cut = 0.8796 if 'squeeze_excite' in name else 1  # of a truncated normal
        scale = cut * np.prod(value.shape[:-1]) ** -0.5
        error = 4 * (2 * value.size) ** -0.5
        assert np.std(value) / scale == pytest.approx(1, abs=error), name
      else:
        np.testing.assert_array_equal(value, leaf == 'gain')
  assert np.std(params['NFNet/~/linear']['w']) == pytest.approx(0.01, rel=0.01)
  np.testing.assert_array_equal(params['NFNet/~/linear']['b'], 0)


def test_a_headless_network_has_no_classifier():
  model = nfnets.create_model('nfnet_tiny', 0)
  full, _ = init_shapes(nfnets.create_model('nfnet_tiny'))
  params, _ = init_shapes(model)
  del full['NFNet/~/linear']
  assert params == full
  trees = jax.eval_shape(model.init, KEY)
  images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
  outputs, _ = jax.eval_shape(lambda *args: model.apply(*args, None, images), *trees)
  assert {name: output.shape for name, output in outputs.items()} == {'pool': (2, 512)}


def test_images_can_have_one_channel():
  params, _ = init_shapes(nfnets.create_model('nfnet_tiny', in_channels=1))
  colour, _ = init_shapes(nfnets.create_model('nfnet_tiny'))
  assert params['NFNet/~/stem_conv0'].pop('w') == [3, 3, 1, 16]
  colour['NFNet/~/stem_conv0'].pop('w')
  assert params == colour


OPTIONS = {
  'alpha': 0.5,
  'drop_rate': 0.0,
  'stochdepth_rate': 0.1,
  'se_ratio': 0.25,
  'skip_gain': 1.0,
  'activation': 'silu',
  'rounding': 'paper',
}


@pytest.mark.parametrize(('option', 'value'), OPTIONS.items())
def test_an_option_changes_the_number_it_names_and_no_other(option, value):
  variant = nfnets.create_model('nfnet_f0', **{option: value}).variant
  names = [field for field in vars(variant) if getattr(variant, field) != getattr(F0, field)]
  assert names == [option]
  assert getattr(variant, option) == value


def test_every_option_that_defaults_to_the_variants_own_is_tried():
  options = inspect.signature(nfnets.create_model).parameters.values()
  of_their_own = {option.name for option in options if option.default is None}
  assert of_their_own == {*OPTIONS, 'standardization_dtype'}


def test_squeeze_excite_can_be_switched_on_and_off():
  without, _ = init_shapes(nfnets.create_model('nfnet_tiny', se_ratio=0))
  plain, _ = init_shapes(nfnets.create_model('nfnet_tiny'))
  assert without == {module: leaves for module, leaves in plain.items() if '_excite' not in module}
  for name in ('nf_resnet50', 'resnet50', 'resnet50_v1', 'skipinit_resnet50'):
    model = nfnets.create_model(name, se_ratio=0.25)
    params, _ = init_shapes(model)
    hidden = [leaves['w'] for module, leaves in params.items() if module.endswith('~/linear')]
    assert {64, 512} <= {width for _, width in hidden}, name
  params, _ = init_shapes(nfnets.create_model('eca_nfnet_l0', se_ratio=0.5))
  assert not any('efficient_channel_attention' in module for module in params)


def test_the_papers_rounding_gives_the_papers_f4_plus():
  # arXiv 2102.06171, Table 5: 527 M parameters, 367 B multiply-adds.  Traced shallow, counted deep.
  cost = count_cost(nfnets.create_model('nfnet_f4_plus', rounding='paper'))
  assert round(cost.parameters / 1e6) == 527
  assert round(cost.macs / 1e9) == 367


def test_a_width_factor_scales_every_width():
  wide = nfnets.create_model('nfnet_tiny', width_factor=1.5).variant
  assert (wide.widths, wide.stem_channels, wide.neck_channels) == ((96, 192, 384, 384), 32, 768)
  regnet = nfnets.create_model('nf_regnet_b0', width_factor=2).variant
  assert (regnet.widths, regnet.neck_channels) == ((72, 156, 312, 660), 1920)
  params, _ = init_shapes(nfnets.create_model('wide_resnet_16_4', 10, width_factor=0.25))
  assert params['WideResNet/~/linear']['w'] == [64, 10]


def test_the_standardization_can_be_that_of_bfloat16():
  half = nfnets.create_model('nfnet_f0', standardization_dtype='bfloat16').variant
  assert half.conventions.standardization_dtype == 'bfloat16'
  whole = dataclasses.replace(half.conventions, standardization_dtype='float32')
  assert dataclasses.replace(half, conventions=whole) == F0


def test_remat_and_loops_are_of_the_execution():
  execution = nfnets.Execution(remat='stage', remat_policy='convolutions', scan_from=None)
  model = nfnets.create_model('nfnet_tiny', execution=execution)
  assert model.execution == execution
  assert model.variant == VARIANTS['nfnet_tiny']


def test_without_options_the_variant_is_its_row():
  model = nfnets.create_model('nfnet_f0')
  assert model.variant == F0
  assert (model.name, model.num_classes, model.in_channels) == ('nfnet_f0', 1000, 3)


def test_the_first_skip_gain_is_the_one_asked_for():
  params, _ = nfnets.create_model('nfnet_tiny', skip_gain=0.5).init(KEY)
  gains = [leaves['skip_gain'] for leaves in params.values() if 'skip_gain' in leaves]
  assert len(gains) == 5
  np.testing.assert_array_equal(gains, 0.5)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'name': 'nfnet_f00'}, r"^model='nfnet_f00' is not known: did you mean nfnet_f0, "),
    ({'num_classes': -1}, r'^num_classes=-1 must be a whole number, 0 or more$'),
    ({'num_classes': 2.5}, r'^num_classes=2\.5 must be a whole number, 0 or more$'),
    ({'in_channels': 0}, r'^in_channels=0 must be a whole number, 1 or more$'),
    ({'drop_rate': 1.0}, r'^drop_rate=1.0: must be one finite number >= 0 and < 1$'),
    ({'drop_rate': float('nan')}, r'^drop_rate=nan: must be one finite number >= 0 and < 1$'),
    ({'stochdepth_rate': -0.1}, r'^stochdepth_rate=-0.1: must be one finite number >= 0 and < 1$'),
    ({'alpha': 0}, r'^alpha=0: must be one finite number > 0$'),
    ({'se_ratio': -1}, r'^se_ratio=-1: must be one finite number >= 0$'),
    ({'width_factor': 0}, r'^width_factor=0: must be one finite number > 0$'),
    ({'width_factor': 0.01}, r'^width_factor=0.01: no channels are left of the widths'),
    ({'activation': 'swish'}, r"^activation='swish' is not known: "),
    ({'rounding': 'up'}, r"^rounding='up' is not known: it is one of code, paper$"),
    ({'standardization_dtype': 'float16'}, r"^standardization_dtype='float16' is not known: "),
    (
      {'name': 'fixup_resnet50', 'se_ratio': 0.5},
      r'^se_ratio=0.5: fixup_resnet50 has no such option; it has activation, drop_rate, stoch',
    ),
    ({'name': 'resnet50', 'alpha': 0.5}, r'^alpha=0.5: resnet50 has no such option; it has '),
    ({'name': 'nfnet_l0', 'rounding': 'paper'}, r"^rounding='paper': nfnet_l0 has no such option"),
  ],
)
def test_a_wrong_argument_is_named_at_once(arguments, message):
  with pytest.raises(InputError, match=message):
    nfnets.create_model(**{'name': 'nfnet_tiny'} | arguments)


def test_names_are_listed_by_pattern_in_the_order_of_the_papers():
  assert nfnets.list_models('nfnet_f?') == [f'nfnet_f{i}' for i in range(8)]
  assert nfnets.list_models('*_plus') == [f'nfnet_f{i}_plus' for i in range(8)]
  assert nfnets.list_models('resnext*') == []
  assert nfnets.list_models() == list(VARIANTS)


def test_a_model_is_a_value():
  one, other = (nfnets.create_model('nfnet_tiny', 10) for _ in range(2))
  assert one == other
  assert hash(one) == hash(other)
  assert one != nfnets.create_model('nfnet_tiny', 11)
