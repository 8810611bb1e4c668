"""Folded networks against those they are made of."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import subjaxprs

import nfnets
from nfnets.errors import InputError
from nfnets.models.execution import DEFAULT_EXECUTION, Execution
from nfnets.models.families import FAMILIES
from nfnets.models.features import feature_shapes
from nfnets.models.variants import VARIANTS
from nfnets.models.zoo import Model, as_folded

KEY = jax.random.key(3)
SIZE = (11, 14)
_ONE_STAGE = {'depths': (2,), 'widths': (8,), 'strides': (2,)}
NETWORKS = {
  'nfnet_tiny': {},
  'eca_nfnet_l0': {},
  'nf_regnet_b0': {'group_width': 4},
  'nf_resnet50': {},
  'timm_nf_resnet50': {},
  'resnet50': _ONE_STAGE | {'se_ratio': 0.25},
  'resnet50_v1': _ONE_STAGE,
  'skipinit_resnet50': {'se_ratio': 0.25},
  'fixup_resnet50': {},
  'wide_resnet_16_2': _ONE_STAGE,
  'skipinit_wide_resnet_16_2': {'activation': 'gelu'},
  'sqrt2_wide_resnet_16_2': {},
  'fixup_wide_resnet_16_2': {},
  'nf_wide_resnet_16_2': {},
}

# Their blocks are among those of the others, too.
SLOW = {'eca_nfnet_l0', 'timm_nf_resnet50', 'resnet50', 'skipinit_resnet50'}


def network(name: str, *, execution: Execution = DEFAULT_EXECUTION, **changes) -> Model:
  """Two narrow blocks, by default one with an identity and one with a strided projection."""
  row = VARIANTS[name]
  small = {
    'depths': (1, 1),
    'widths': (8, 8),
    'strides': (1, 2),
    'stem_channels': 8,
    'group_width': row.group_width and 2,
    'train_size': 16,
    'test_size': 16,
  }
  variant = dataclasses.replace(row, **(small | NETWORKS[name] | changes))
  return Model(name, variant, 5, 3, execution)


def trained(model: Model, seed: int = 0):
  """Parameters and state of which nothing is 0 or 1 any more."""
  rng = np.random.default_rng(seed)

  def leaf(path, shaped):
    module, name = path[-2].key, path[-1].key
    numbers = np.array(rng.standard_normal(shaped.shape), np.float32)
    if name == 'average' and 'var_ema' in module:
      return np.exp(numbers)
    if name == 'w':
      return numbers / np.sqrt(np.prod(shaped.shape[:-1])) + np.float32(0.05)
    return np.array(numbers / 2 + (name in ('gain', 'skip_gain', 'scale')), np.float32)

  return jax.tree_util.tree_map_with_path(leaf, model.shapes())


def images(dtype: str = 'float32', size: tuple[int, int] = SIZE, count: int = 2) -> jax.Array:
  return jax.random.normal(KEY, (count, *size, 3), dtype)


@functools.partial(jax.jit, static_argnums=0)  # of equal models, compiled once
def outputs(model: Model, params, state, x):
  return model.apply(params, state, None, x, return_features=True)[0]


def assert_close(found, expected, tolerance: float = 1e-5) -> None:
  """Everything by name, within a part of its largest number."""
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    assert found[name].dtype == value.dtype, name
    largest = np.abs(np.asarray(value, np.float32)).max()
    assert largest > 0.01, name
    np.testing.assert_allclose(
      np.asarray(found[name], np.float32),
      np.asarray(value, np.float32),
      rtol=0,
      atol=tolerance * largest,
      err_msg=name,
    )


def test_every_family_is_tried():
  assert {VARIANTS[name].family for name in NETWORKS} == set(FAMILIES)


@pytest.mark.parametrize(
  'name',
  [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NETWORKS],
)
def test_logits_and_features_are_those_of_the_network(name):
  model = network(name)
  params, state = trained(model)
  folded, folded_params, folded_state = nfnets.fold(model, params, state)
  assert folded_state == {}
  shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), folded_params)
  assert (shapes, {}) == folded.shapes()
  assert_close(
    outputs(folded, folded_params, {}, images()), outputs(model, params, state, images())
  )


def primitives(jaxpr) -> set[str]:
  """Names of all operations, of inner programs too."""
  inner = (primitives(sub) for sub in subjaxprs(jaxpr))
  return {equation.primitive.name for equation in jaxpr.eqns}.union(*inner)


@pytest.mark.parametrize('name', ['nfnet_tiny', 'resnet50_v1', 'wide_resnet_16_2'])
def test_nothing_is_left_of_what_parameters_alone_decide(name):
  def operations(model, params, state):
    return primitives(jax.make_jaxpr(model.apply)(params, state, None, images()).jaxpr)

  model = network(name)
  params, state = trained(model)
  decided = {'standardization', 'rsqrt'}
  assert decided & operations(model, params, state)
  assert not decided & operations(*nfnets.fold(model, params, state))


def leaf_names(tree) -> set[str]:
  return {name for leaves in tree.values() for name in leaves}


def test_constants_are_merged_where_no_gate_is_in_between():
  """Which leaves remain, and that no feature map is multiplied but by its gate."""

  def products(name: str, **changes) -> int:
    folded = as_folded(network(name, **changes))
    program = jax.make_jaxpr(lambda params, x: folded.apply(params, {}, None, x)[0]['logits'])
    equations = program(folded.shapes()[0], images()).jaxpr.eqns
    products = [e.outvars[0].aval.shape for e in equations if e.primitive.name == 'mul']
    return sum(shape[1:2] > (1,) and len(shape) == 4 for shape in products)

  kinds = {name: leaf_names(as_folded(network(name)).shapes()[0]) for name in NETWORKS}
  assert kinds['nfnet_tiny'] == {'w', 'b', 'bias', 'skip_gain'}
  assert kinds['nf_regnet_b0'] == {'w', 'b', 'bias'}
  assert kinds['nf_resnet50'] == {'w', 'b', 'bias'}
  assert kinds['resnet50_v1'] == {'w', 'b'}
  assert kinds['wide_resnet_16_2'] == {'w', 'b', 'scale', 'offset'}
  assert kinds['fixup_resnet50'] == {'w', 'b', 'bias1', 'bias2a'}
  assert kinds['fixup_wide_resnet_16_2'] == {'w', 'b', 'bias1', 'bias1a', 'bias2a'}
  neck = 1  # gamma of what is pooled, which is an output
  assert products('nf_resnet50') == neck
  assert products('timm_nf_resnet50') == 0
  assert products('timm_nf_resnet50', se_ratio=0.25) == 2
  assert products('sqrt2_wide_resnet_16_2') == 0


@pytest.mark.parametrize('name', ['nfnet_tiny', 'nf_wide_resnet_16_2', 'fixup_resnet50'])
def test_gains_of_zero_are_ordinary(name):
  model = network(name)
  params, state = trained(model)
  for leaves in params.values():
    leaves |= {gain: np.float32(0) for gain in ('skip_gain', 'scale') if gain in leaves}
  params = {
    path: leaves | {'gain': np.zeros_like(leaves['gain'])}
    if path.endswith('conv0') and 'gain' in leaves
    else leaves
    for path, leaves in params.items()
  }
  expected = outputs(model, params, state, images())
  assert_close(outputs(*nfnets.fold(model, params, state), images()), expected)


@pytest.mark.slow
def test_a_loop_over_blocks_reads_folded_parameters():
  model = network(
    'nf_wide_resnet_16_2', execution=Execution(scan_from=2), depths=(1, 3), se_ratio=0.25
  )
  params, state = trained(model)
  folded, folded_params, _ = nfnets.fold(model, params)

  @functools.partial(jax.jit, static_argnums=0)
  def pool(model, params, state, x):
    return model.apply(params, state, None, x)[0]['pool']

  x = images(count=1)
  program = jax.make_jaxpr(folded.apply)(folded_params, {}, None, x)
  assert [e.primitive.name for e in program.jaxpr.eqns].count('scan') == 1
  found, expected = pool(folded, folded_params, {}, x), pool(model, params, state, x)
  assert_close({'pool': found}, {'pool': expected})


def test_kernels_are_standardized_in_the_dtype_of_the_network():
  row = VARIANTS['nf_wide_resnet_16_2'].conventions

  def kernel(dtype):
    conventions = dataclasses.replace(row, standardization_dtype=dtype)
    model = network('nf_wide_resnet_16_2', conventions=conventions)
    return nfnets.fold(model, trained(model)[0]).params['NF_WideResNet/~/initial_conv']['w']

  half, whole = kernel('bfloat16'), kernel('float32')
  assert half.dtype == whole.dtype == jnp.float32
  difference = np.abs(half - whole).max() / np.abs(whole).max()
  assert 1e-3 < difference < 0.02


def test_parameters_in_bfloat16_take_half_the_memory():
  model = network('nf_wide_resnet_16_2')
  params, state = trained(model)
  folded = nfnets.fold(model, params, dtype='bfloat16')
  assert {leaf.dtype for leaf in jax.tree.leaves(folded.params)} == {jnp.dtype('bfloat16')}
  expected = outputs(model, params, state, images())
  assert_close(outputs(*folded, images()), expected, 0.05)
  half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), params)
  kept = nfnets.fold(model, half).params
  assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.dtype('bfloat16')}


def test_it_computes_in_the_dtype_of_the_images():
  model = network('nf_wide_resnet_16_2')
  params, state = trained(model)
  found = outputs(*nfnets.fold(model, params), images('bfloat16'))
  assert found['stage_0'].dtype == jnp.bfloat16
  assert_close(found, outputs(model, params, state, images('bfloat16')), 0.1)


def test_it_is_an_ordinary_model():
  """Under jit and vmap, exported, and asked for the shapes of its features."""
  model = network('nf_wide_resnet_16_2')
  params, state = trained(model)
  folded, folded_params, _ = nfnets.fold(model, params)
  assert feature_shapes(folded) == feature_shapes(model)
  assert (folded.name, folded.num_classes) == (model.name, model.num_classes)

  def logits(params, x):
    return folded.apply(params, {}, None, x)[0]['logits']

  x = images()
  expected = outputs(model, params, state, x)['logits']
  exported = jax.export.export(jax.jit(logits))(folded_params, x)
  mapped = jax.jit(jax.vmap(logits, (None, 0)))(folded_params, x[:, None])[:, 0]
  for found in (exported.call(folded_params, x), mapped):
    assert_close({'logits': found}, {'logits': expected})


@pytest.mark.slow
def test_folding_can_be_traced():
  model = network('wide_resnet_16_2')
  params, state = trained(model)
  eager = nfnets.fold(model, params, state).params
  jitted = jax.jit(lambda params, state: nfnets.fold(model, params, state).params)(params, state)
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6), jitted, eager
  )


def test_what_is_given_stays_as_it_is():
  model = network('fixup_wide_resnet_16_2')
  params, state = trained(model)
  before = jax.tree.map(np.copy, params)
  nfnets.fold(model, params, state)
  jax.tree.map(np.testing.assert_array_equal, params, before)


def test_what_cannot_be_folded_is_told():
  model = network('nfnet_tiny')
  params, _ = trained(model)
  folded = nfnets.fold(model, params)
  with pytest.raises(InputError, match=r"^model='nfnet_tiny' is folded already$"):
    nfnets.fold(*folded)
  with pytest.raises(InputError, match=r'^is_training=True: nfnet_tiny is folded, for inference'):
    folded.model.apply(folded.params, {}, KEY, images(), is_training=True)
  with pytest.raises(InputError, match=r"^dtype='float16' is not known: "):
    nfnets.fold(model, params, dtype='float16')
  with pytest.raises(InputError, match=r'is no Model; nfnets.create_model makes one$'):
    nfnets.fold(params, model)
  with pytest.raises(InputError, match=r'linear b is missing, and should be \(5,\)$'):
    nfnets.fold(model, {path: params[path] for path in params if path != 'NFNet/~/linear'})
  with pytest.raises(InputError, match=r'params of nfnet_tiny: .* w is \(64, 5\), and should be'):
    nfnets.fold(model, params | {'NFNet/~/linear': {'w': np.ones((64, 5)), 'b': np.ones(5)}})
  model = network('resnet50')
  params, _ = trained(model)
  with pytest.raises(InputError, match=r'^state=None: resnet50 has batch normalization; give'):
    nfnets.fold(model, params)


@pytest.mark.slow
def test_the_real_network():
  model = nfnets.create_model('nfnet_f0')
  params, state = trained(model)
  x = images(size=(64, 64))
  assert_close(
    outputs(*nfnets.fold(model, params), x),
    outputs(model, params, state, x),
  )
