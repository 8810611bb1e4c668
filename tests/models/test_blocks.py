"""The blocks without normalization, whose biases come last, against their equation."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.models import layers
from nfnets.models.blocks import BASIC, PreactBlock, PreactDesign
from nfnets.models.layers import Mode, Terms
from nfnets.models.plan import Place
from nfnets.models.variants import VARIANTS

VARIANT = dataclasses.replace(VARIANTS['nfnet_tiny'], group_width=4, se_ratio=0.5)
GATED = PreactDesign(
  name='block',
  kernels=(1, 3, 3, 1),
  conv_names=('conv0', 'conv1', 'conv1b', 'conv2'),
  width=lambda place, variant: (8, 2),
  pooled_shortcut=True,
)
BETA = 0.8

# What is built, for which variant, and whether a shortcut is projected and examples are dropped.
CASES = {
  'gated': (GATED, VARIANT, True, True),
  'gated, no projection': (GATED, VARIANT, False, False),
  'gated by neighbours': (
    GATED,
    dataclasses.replace(VARIANT, se_ratio=None, eca=True),
    True,
    False,
  ),
  'gated inside': (dataclasses.replace(GATED, inner_attention=True), VARIANT, True, True),
  'no gate': (GATED, dataclasses.replace(VARIANT, se_ratio=None), True, True),
  'plain': (
    PreactDesign(
      name='block',
      kernels=BASIC,
      conv_names=('conv0', 'conv1'),
      width=lambda place, variant: (8, 1),
      standardized=False,
      gained=False,
      divisor=2**0.5,
    ),
    dataclasses.replace(VARIANT, se_ratio=None),
    False,
    True,
  ),
}


class Equation(PreactBlock):
  """Every bias and factor where the equation has it."""

  def __call__(self, x, mode, terms):
    del mode
    normalized = self.activation(x) * terms.beta
    shortcut = x
    if self.place.needs_projection:
      pool = self.place.stride if self.spec.pooled_shortcut else 1
      shortcut = self.conv_shortcut(layers.average_pool(normalized, pool))
    y = self.convs[0](normalized)
    for conv in self.convs[1:]:
      if self.spec.inner_attention and conv is self.convs[-1]:
        y = self.attention(y)
      y = conv(self.activation(y))
    if self.attention is not None and not self.spec.inner_attention:
      y = self.attention(y)
    y = layers.stochastic_depth(y, terms.kept)
    gain = hk.get_parameter('skip_gain', (), init=jnp.zeros) if self.gained else 1.0
    return (shortcut + self.variant.alpha * gain * y) / self.spec.divisor


def draw(case):
  spec, variant, projects, drops = CASES[case]
  place = Place(
    index=1,
    num_blocks=3,
    stage=1,
    in_channels=6 if projects else 10,
    out_channels=10,
    stride=2 if projects else 1,
    starts_stage=projects,
    variance=1.0,
  )
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.standard_normal((3, 7, 5, place.in_channels), dtype=np.float32))
  terms = Terms(np.float32(BETA), jnp.array([True, False, True]) if drops else None)

  def made(block):
    return hk.transform(
      lambda x: block(spec, place, variant)(x, Mode(True, jnp.arange(len(x))), terms)
    )

  shapes = jax.eval_shape(made(Equation).init, jax.random.key(0), x)
  params = jax.tree.map(
    lambda leaf: jnp.asarray(0.5 + 0.3 * rng.standard_normal(leaf.shape), jnp.float32), shapes
  )
  return made, params, x


@pytest.mark.parametrize('case', CASES)
def test_results_and_gradients_are_those_of_the_equation(case):
  made, params, x = draw(case)
  assert any('squeeze' in m or 'attention' in m for m in params) == ('gated' in case)
  rng = np.random.default_rng(1)

  def both(block):
    y, transpose = jax.vjp(lambda params, x: made(block).apply(params, None, x), params, x)
    weights = rng.standard_normal(y.shape, dtype=np.float32) if block is Equation else seen['at']
    seen['at'] = weights
    return y, transpose(jnp.asarray(weights))

  seen = {}
  expected, actual = both(Equation), both(PreactBlock)
  for (path, right), found in zip(
    jax.tree.leaves_with_path(expected), jax.tree.leaves(actual), strict=True
  ):
    scale = max(float(np.max(np.abs(right))), 1e-2)
    np.testing.assert_allclose(
      found / scale, right / scale, rtol=0, atol=2e-5, err_msg=jax.tree_util.keystr(path)
    )


@pytest.mark.parametrize('case', ['gated', 'gated by neighbours'])
def test_behind_a_gate_sums_are_taken_over_space_alone(case):
  """So a compiler can take them side by side, in one reading."""
  made, params, x = draw(case)

  def sums(block):
    def loss(params, x):
      return jnp.vdot(made(block).apply(params, None, x), np.ones((3, 4, 3, 10), np.float32))

    program = jax.make_jaxpr(jax.grad(loss))(params, x)
    summed = [
      equation.params['axes']
      for equation in program.jaxpr.eqns
      if equation.primitive.name == 'reduce_sum' and equation.invars[0].aval.shape == (3, 4, 3, 10)
    ]
    return summed.count((0, 1, 2)), summed.count((1, 2))

  over_all, over_space = sums(PreactBlock)
  assert over_all == 0
  assert over_space >= 2
  assert sums(Equation)[0] == 2  # the biases
