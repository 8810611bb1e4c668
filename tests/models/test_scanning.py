"""Equal blocks as one loop, or as one function: the same numbers under the same names."""

import dataclasses
import re

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nfnets
from nfnets.models.execution import Execution
from nfnets.models.families import FAMILIES
from nfnets.models.variants import VARIANTS, Variant
from nfnets.models.zoo import Model

KEY = jax.random.key(3)
LOOPED = Execution(scan_from=2)
SHARED = Execution(scan_from=2, equal_blocks='shared')
UNROLLED = Execution(scan_from=None)
NETWORKS = {
  'nfnet_tiny': 8,
  'nf_regnet_b0': 24,
  'nf_resnet50': 64,
  'resnet50': 64,
  'resnet50_v1': 64,
  'fixup_resnet50': 64,
  'nf_ecaresnet50': 64,
  'sqrt2_wide_resnet_16_2': 32,
}


def shallow(name: str) -> Variant:
  """Two stages, the second with three equal blocks, and narrow."""
  row = VARIANTS[name]
  width = NETWORKS[name]
  return dataclasses.replace(
    row,
    depths=(1, 4),
    widths=(width, 2 * width),
    strides=(1, 2),
    stem_channels=width // 2,
    group_width=row.group_width and 4,
    stochdepth_rate=0.5,
    drop_rate=0.0,
    skip_gain=0.7,
    train_size=16,
  )


def model(name: str, execution: Execution) -> Model:
  return Model(name, shallow(name), 5, 3, execution)


def shapes(tree):
  return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@pytest.mark.parametrize('name', NETWORKS)
def test_the_tree_and_its_first_values_are_the_same(name):
  unrolled = model(name, UNROLLED).init(KEY)
  for execution in (LOOPED, SHARED):
    together = model(name, execution).init(KEY)
    assert shapes(together) == shapes(unrolled)
    jax.tree.map(np.testing.assert_array_equal, together, unrolled)


@pytest.mark.parametrize(
  'name',
  [
    'resnet50_v1',
    *(
      pytest.param(name, marks=pytest.mark.slow)
      for name in ('nfnet_tiny', 'resnet50', 'fixup_resnet50')
    ),
  ],
)
def test_outputs_state_and_gradients_are_the_same(name):
  params, state = model(name, UNROLLED).init(KEY)
  images = jax.random.normal(jax.random.key(1), (3, 16, 16, 3))

  def compute(execution):
    def loss(params):
      outputs, new_state = model(name, execution).apply(
        params, state, jax.random.key(2), images, is_training=True
      )
      return jnp.sum(outputs['pool'] ** 2 + outputs['logits'].sum()), (outputs, new_state)

    return jax.jit(jax.grad(loss, has_aux=True))(params)

  unrolled = compute(UNROLLED)
  largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(unrolled[0]))
  assert largest > 0
  for execution in (LOOPED, SHARED):
    together = compute(execution)
    assert shapes(together) == shapes(unrolled)
    jax.tree.map(
      lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * largest),
      together,
      unrolled,
    )


def test_it_is_a_loop_indeed():
  def loops(execution):
    network = model('nf_resnet50', execution)
    trees = jax.eval_shape(network.init, KEY)
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    program = jax.make_jaxpr(lambda *args: network.apply(*args, None, images))(*trees)
    return sum(equation.primitive.name == 'scan' for equation in program.jaxpr.eqns)

  assert loops(LOOPED) == 1
  assert loops(UNROLLED) == 0
  assert loops(Execution(scan_from=4)) == 0


def test_it_is_one_function_that_the_compiler_of_tpus_does_not_take_apart():
  network = model('nf_resnet50', SHARED)
  params, state = jax.eval_shape(network.init, KEY)
  images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)

  def loss(params, images):
    return jnp.sum(network.apply(params, state, None, images)[0]['pool'])

  traced = jax.jit(jax.grad(loss)).trace(params, images)
  program = traced.lower(lowering_platforms=('tpu',)).as_text()
  calls = re.findall(r'call @(step\w*)\(.*inlineable = "false"', program)
  forwards, backwards = sorted(set(calls))
  assert calls == 3 * [forwards] + 3 * [backwards]
  assert program.count('func private @step') == 2
  for others in ('cpu', 'cuda'):
    assert 'inlineable' not in traced.lower(lowering_platforms=(others,)).as_text()


@pytest.mark.parametrize('execution', [LOOPED, SHARED], ids=['loop', 'shared'])
def test_state_is_kept_in_evaluation(execution):
  network = model('resnet50', execution)
  params, state = network.init(KEY)
  _, after = jax.jit(network.apply)(params, state, None, jnp.ones((2, 16, 16, 3)))
  jax.tree.map(np.testing.assert_array_equal, after, state)


@pytest.mark.slow
def test_it_works_inside_of_another_haiku_module():
  """Paths below a user's own module, in bfloat16, and with Haiku's own `init`."""

  class Mine(hk.Module):
    def __call__(self, x):
      body = nfnets.NFResNet(0, shallow('nf_resnet50'), execution=LOOPED)
      return body(x, is_training=False)['pool']

  network = hk.transform(lambda x: Mine()(x))
  images = jnp.ones((2, 16, 16, 3), jnp.bfloat16)
  params = network.init(KEY, images)
  assert 'mine/NF_ResNet/~/nf_res_block_3/~/conv1' in params
  assert len([path for path in params if path.endswith('conv1')]) == 5
  pool = network.apply(params, None, images)
  unrolled = hk.transform(
    lambda x: nfnets.NFResNet(0, shallow('nf_resnet50'), execution=UNROLLED)(x, False)['pool']
  )
  own = {path.removeprefix('mine/'): leaves for path, leaves in params.items()}
  np.testing.assert_allclose(pool, unrolled.apply(own, None, images), rtol=0.02)


@pytest.mark.slow
def test_features_of_inner_blocks_unroll_the_loop():
  network = model('nf_resnet50', LOOPED)
  params, state = network.init(KEY)
  images = jax.random.normal(KEY, (1, 16, 16, 3))
  features, _ = network.apply(params, state, None, images, return_features=['block_2', 'stage_1'])
  ends, _ = network.apply(params, state, None, images, return_features=['stage_1'])
  assert set(features) == {'block_2', 'stage_1', 'pool', 'logits'}
  np.testing.assert_allclose(features['stage_1'], ends['stage_1'], rtol=1e-5, atol=1e-5)
  assert not np.allclose(features['block_2'], features['stage_1'])


def test_deep_networks_are_loops_by_default():
  for name in ('nf_wide_resnet_1000_2', 'wide_resnet_1000_2', 'nf_resnet600', 'resnet600'):
    assert max(VARIANTS[name].depths) > Execution().scan_from
    assert VARIANTS[name].family in FAMILIES
