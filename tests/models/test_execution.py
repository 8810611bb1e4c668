"""Rematerialization: the same results from less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from micro import VARIANT

from nfnets.errors import InputError
from nfnets.models.execution import REMAT_POLICIES, Execution
from nfnets.models.zoo import Model

KEY = jax.random.key(0)
DEEP = dataclasses.replace(
  VARIANT, depths=(1, 4), skip_gain=0.5, drop_rate=0.2, stochdepth_rate=0.2
)
IMAGES = jax.random.normal(KEY, (2, 16, 16, 3))


def loss(execution, images=IMAGES):
  model = Model('micro', DEEP, 10, 3, execution)

  def compute(params):
    outputs, _ = model.apply(params, {}, jax.random.key(1), images, is_training=True)
    return jnp.mean(outputs['logits'] ** 2)

  return compute


def parameters():
  return Model('micro', DEEP, 10).init(KEY)[0]


def kept(execution):
  """Numbers kept between the forward and the backward pass, parameters not counted."""
  params = parameters()
  images = jnp.zeros((8, 64, 64, 3))  # so that activations outweigh kernels
  _, backward = jax.eval_shape(lambda params: jax.vjp(loss(execution, images), params), params)
  total = sum(leaf.size for leaf in jax.tree.leaves(backward))
  return total - sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
  'execution',
  [
    pytest.param(Execution(remat='block'), marks=pytest.mark.slow),
    pytest.param(Execution(remat='stage', remat_policy='convolutions'), marks=pytest.mark.slow),
    pytest.param(
      Execution(remat='block', remat_policy='convolutions', scan_from=2), marks=pytest.mark.slow
    ),
    pytest.param(
      Execution(remat='block', scan_from=2, equal_blocks='shared'), marks=pytest.mark.slow
    ),
  ],
  ids=str,
)
def test_gradients_are_the_same(execution):
  params = parameters()
  plain = jax.jit(jax.grad(loss(Execution())))(params)
  remade = jax.jit(jax.grad(loss(execution)))(params)
  largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(plain))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * largest), plain, remade
  )


@pytest.mark.slow
def test_each_choice_keeps_less_than_the_one_before():
  everything = kept(Execution())
  convolutions = kept(Execution(remat='block', remat_policy='convolutions'))
  blocks = kept(Execution(remat='block'))
  stages = kept(Execution(remat='stage'))
  # What the convolutions of the blocks are given, behind the activations: 8 x 16 x 16 and then
  # 8 x 8 x 8 pixels.
  given = (4 * 16 + 2 * 32) * 2048 + (3 * 32 + 3 * (64 + 3 * 32)) * 512
  assert given < everything - convolutions < 1.2 * given
  # What the convolutions of five blocks return, 8 x 16 x 16 and then 8 x 8 x 8 pixels; but for the
  # shortcuts' results, which no gradient needs.
  inner = (3 * 16 + 32) * 2048 + 32 * 2048 + (2 * 32 + 64) * 512 + 3 * (3 * 32 + 64) * 512
  assert convolutions - blocks == inner
  # The inputs of all blocks that do not start a stage.
  assert blocks - stages == pytest.approx(3 * 64 * 512, rel=1e-3)


def test_equal_blocks_are_rematerialized_too():
  one_by_one = kept(Execution(remat='block'))
  for form in ('loop', 'shared'):
    together = kept(Execution(scan_from=2, remat='block', equal_blocks=form))
    assert together == pytest.approx(one_by_one, rel=1e-3)


@pytest.mark.parametrize(
  ('choices', 'message'),
  [
    ({'remat': 'blocks'}, r"^remat='blocks' must be 'block', 'stage' or None$"),
    ({'remat_policy': 'dots'}, r"^remat_policy='dots' is not known: "),
    ({'scan_from': 1}, r'^scan_from=1 must be 2 or more, or None$'),
    ({'equal_blocks': 'scan'}, r"^equal_blocks='scan' must be 'loop' or 'shared'$"),
  ],
)
def test_a_wrong_choice_is_named(choices, message):
  with pytest.raises(InputError, match=message):
    Execution(**choices)


def test_every_policy_is_known_by_name():
  for name in REMAT_POLICIES:
    assert Execution(remat_policy=name).remat_policy == name
