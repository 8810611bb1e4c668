"""One network of the zoo: what it starts with, and its options."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.trees import init_shapes

import nfnets
from nfnets.errors import InputError
from nfnets.models.inspection import count_cost
from nfnets.models.variants import VARIANTS

F0 = VARIANTS['nfnet_f0']
KEY = jax.random.key(0)


def dtypes(tree):
  return {leaf.dtype for leaf in jax.tree.leaves(tree)}


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
  assert of_their_own == {*OPTIONS, 'standardization_dtype', 'fixup_rules'}


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
  ('rules', 'has_zeros', 'is_shrunken'),
  [(None, True, True), ('both', True, True), ('zeros', True, False), ('shrunken', False, True)],
)
def test_each_of_fixups_rules_holds_alone(rules, has_zeros, is_shrunken):
  params, _ = nfnets.create_model('fixup_wide_resnet_16_2', 10, fixup_rules=rules).init(KEY)
  kernels = {module: leaves['w'] for module, leaves in params.items() if 'w' in leaves}
  first = [w for module, w in kernels.items() if module.endswith('/conv0')]
  last = [w for module, w in kernels.items() if module.endswith('/conv1')]
  assert len(first) == len(last) == 6
  for w in (*last, kernels['FixUp_WideResNet/~/linear']):
    assert np.any(w) != has_zeros
  # Of He et al., or divided by the square root of the 6 blocks; 4608 numbers at least.
  for w in first:
    he = (2 / (9 * w.shape[-1])) ** 0.5
    np.testing.assert_allclose(np.std(w), he * (6**-0.5 if is_shrunken else 1), rtol=0.05)
  for w in last:
    he = (2 / (9 * w.shape[-1])) ** 0.5
    np.testing.assert_allclose(np.std(w), 0 if has_zeros else he, rtol=0.05)


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
      r'^se_ratio=0.5: fixup_resnet50 has no such option; it has activation, drop_rate, fixup_r',
    ),
    (
      {'name': 'fixup_resnet50', 'fixup_rules': 'none'},
      r"^fixup_rules='none' is not known: it is one of both, shrunken, zeros$",
    ),
    ({'fixup_rules': 'both'}, r"^fixup_rules='both': nfnet_tiny has no such option; it has "),
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
