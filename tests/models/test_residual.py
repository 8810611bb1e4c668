"""One network under JAX's transformations, and what its inputs may and may not be."""

import dataclasses
import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden.golden_values import fill, golden_images

import nfnets
from nfnets.errors import InputError
from nfnets.models import plan
from nfnets.models.variants import VARIANTS
from nfnets.models.zoo import Model

# Three blocks, one with a strided shortcut and one with two groups: quick to compile.
SMALL = dataclasses.replace(
  VARIANTS['nfnet_tiny'],
  depths=(1, 2),
  widths=(32, 64),
  strides=(1, 2),
  stem_channels=16,
  neck=(2, 1),
  group_width=16,
  drop_rate=0.5,
  stochdepth_rate=0.5,
)
NET = Model('small', SMALL, num_classes=10)
KEY = jax.random.key(3)
IMAGES = golden_images(1, (4, 32, 32, 3))
NAMES = [
  *('stem', 'block_0', 'stage_0', 'block_1', 'block_2', 'stage_1', 'neck'),
  *('pool', 'logits'),
]


@functools.cache
def golden_params():
  """Parameters with which every branch does something: the gains are not zero."""
  tree, _ = jax.eval_shape(NET.init, KEY)
  return fill({m: {n: leaf.shape for n, leaf in leaves.items()} for m, leaves in tree.items()})


def apply(params, images, rng=None, **options):
  outputs, state = NET.apply(params, {}, rng, images, **options)
  assert state == {}
  return outputs


compiled = jax.jit(apply, static_argnames=('is_training', 'return_features'))


def evaluate(images, **options):
  return compiled(golden_params(), images, **options)


def train(images, rng=KEY, **options):
  return compiled(golden_params(), images, rng, is_training=True, **options)


def assert_close(one, other, rtol=1e-5):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), one, other)


def assert_equal(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def loss(params, images, rng=KEY):
  return jnp.mean(apply(params, images, rng, is_training=True)['logits'] ** 2)


def test_outputs_are_logits_and_pool_in_float32():
  outputs = evaluate(IMAGES)
  shapes = {name: (output.shape, output.dtype.name) for name, output in outputs.items()}
  assert shapes == {'logits': ((4, 10), 'float32'), 'pool': ((4, 128), 'float32')}


def test_features_are_those_that_are_documented():
  images = jax.ShapeDtypeStruct((2, 41, 70, 3), jnp.float32)
  features = jax.eval_shape(functools.partial(apply, return_features=True), golden_params(), images)
  shapes = {name: feature.shape for name, feature in features.items()}
  assert shapes == {
    'stem': (2, 11, 18, 16),
    'block_0': (2, 11, 18, 32),
    'block_1': (2, 6, 9, 64),
    'block_2': (2, 6, 9, 64),
    'stage_0': (2, 11, 18, 32),
    'stage_1': (2, 6, 9, 64),
    'neck': (2, 6, 9, 128),
    'pool': (2, 128),
    'logits': (2, 10),
  }


def test_features_are_asked_for_without_changing_the_outputs():
  features, plain = evaluate(IMAGES, return_features=True), evaluate(IMAGES)
  assert_close({name: features[name] for name in plain}, plain)


@pytest.mark.parametrize('size', [(4, 4), (9, 50)])
def test_any_height_and_width_will_do(size):
  outputs = evaluate(golden_images(0, (1, *size, 3)))
  assert all(np.all(np.isfinite(output)) for output in outputs.values())


@pytest.mark.slow
def test_not_compiled_it_gives_the_same():
  assert_close(apply(golden_params(), IMAGES), evaluate(IMAGES), rtol=1e-4)


def test_vmap_over_crops():
  crops = golden_images(2, (2, 3, 32, 32, 3))
  outputs = jax.jit(jax.vmap(lambda x: apply(golden_params(), x)))(crops)
  for index in range(2):
    one = jax.tree.map(lambda output, index=index: output[index], outputs)
    assert_close(one, jax.tree.map(lambda x: x[:3], evaluate(pad(crops[index]))), rtol=1e-4)


def pad(images):
  """Four images, as most tests have, so that fewer programs are compiled."""
  return np.concatenate([images, np.zeros((4 - len(images), *images.shape[1:]), np.float32)])


def test_pmap_is_the_whole_batch():
  devices = jax.local_device_count()
  images = golden_images(4, (devices, 1, 32, 32, 3))
  ids = np.arange(devices)[:, None]

  def step(params, images, ids):
    return apply(params, images, KEY, is_training=True, example_ids=ids)

  outputs = jax.pmap(step, in_axes=(None, 0, 0))(golden_params(), images, ids)
  whole = train(images[:, 0])
  assert devices == 4
  assert_close(jax.tree.map(lambda x: x[:, 0], outputs), whole, rtol=1e-4)


@pytest.mark.slow
def test_gradients_reach_every_parameter_and_agree_with_differences():
  gradients = jax.jit(jax.grad(loss))(golden_params(), IMAGES)
  for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.any(gradient != 0), path
    assert np.all(np.isfinite(gradient)), path
  rng = np.random.default_rng(0)
  direction = jax.tree.map(
    lambda p: np.asarray(rng.standard_normal(np.shape(p)), np.float32), golden_params()
  )
  slope = sum(jax.tree.leaves(jax.tree.map(lambda a, b: np.sum(a * b), gradients, direction)))
  value = jax.jit(loss)
  step = 1e-3
  ahead, behind = (
    value(
      jax.tree.map(lambda p, d, sign=sign: p + sign * step * d, golden_params(), direction), IMAGES
    )
    for sign in (1, -1)
  )
  assert float(slope) == pytest.approx(float(ahead - behind) / (2 * step), rel=0.02)


@pytest.mark.slow
def test_checkpoint_gives_the_same_gradients():
  plain = jax.jit(jax.grad(loss))(golden_params(), IMAGES)
  remade = jax.jit(jax.grad(jax.checkpoint(loss)))(golden_params(), IMAGES)
  scale = max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(plain))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * scale), plain, remade)


def test_shapes_are_known_without_computing():
  images = jax.ShapeDtypeStruct((8, 999, 333, 3), jnp.bfloat16)
  outputs = jax.eval_shape(lambda p, x: apply(p, x), jax.eval_shape(NET.init, KEY)[0], images)
  assert outputs['logits'].shape == (8, 10)


@pytest.mark.parametrize('run', [evaluate, train])
def test_examples_do_not_see_each_other(run):
  changed = IMAGES.copy()
  changed[2] = 1 - 3 * changed[2]
  before, after = run(IMAGES, return_features=True), run(changed, return_features=True)
  others = np.array([0, 1, 3])
  for name in NAMES:
    np.testing.assert_array_equal(before[name][others], after[name][others])
    assert np.any(before[name][2] != after[name][2])


def test_training_is_random_by_key_and_evaluation_is_not():
  assert_equal(train(IMAGES), train(IMAGES))
  one, other = train(IMAGES), train(IMAGES, rng=jax.random.key(4))
  assert np.any(one['logits'] != other['logits'])
  assert np.any(one['pool'] != other['pool'])  # stochastic depth, not dropout alone
  assert_equal(evaluate(IMAGES), compiled(golden_params(), IMAGES, KEY))


def test_what_is_random_follows_the_examples_numbers():
  order = np.array([2, 0, 3, 1])
  plain = train(IMAGES, example_ids=np.arange(4))
  assert_equal(train(IMAGES), plain)
  permuted = train(IMAGES[order], example_ids=order)
  assert_close(jax.tree.map(lambda x: x[order], plain), permuted)
  others = train(IMAGES, example_ids=np.arange(4) + 4)
  assert np.all(np.any(plain['logits'] != others['logits'], axis=1))


def test_a_dropped_branch_leaves_the_shortcut():
  without_last = golden_params() | {
    'NFNet/~/nf_block_2': {'skip_gain': np.float32(0)},
  }
  kept = train(IMAGES, return_features=True)
  dropped = compiled(without_last, IMAGES, KEY, is_training=True, return_features=True)
  assert_equal(kept['block_1'], dropped['block_1'])
  same = np.all(kept['block_2'] == dropped['block_2'], axis=(1, 2, 3))
  assert 0 < np.mean(same) < 1  # of these four examples, at a rate of a third
  # The first block of the network is never dropped: its rate is 0.
  assert_close(kept['block_0'], evaluate(IMAGES, return_features=True)['block_0'])


def test_bfloat16_images_are_computed_in_bfloat16_up_to_the_pooled_vector():
  exact = evaluate(IMAGES, return_features=True)
  outputs = evaluate(IMAGES.astype(jnp.bfloat16), return_features=True)
  assert {name: output.dtype.name for name, output in outputs.items()} == {
    **dict.fromkeys(NAMES, 'bfloat16'),
    'pool': 'float32',
    'logits': 'float32',
  }
  for name in NAMES:
    difference = np.asarray(outputs[name], np.float32) - exact[name]
    assert 0 < np.sqrt(np.mean(difference**2)) < 0.03 * np.std(exact[name]), name


@pytest.mark.parametrize(
  ('images', 'message'),
  [
    (
      np.zeros((2, 32, 32, 3), np.uint8),
      r'^images of dtype uint8: expected normalized pixels, float32 or bfloat16$',
    ),
    (
      np.zeros((32, 32, 3), np.float32),
      r'^images of shape \(32, 32, 3\): expected \[N, H, W, C\]$',
    ),
    (np.zeros((1, 2, 32, 32, 3), np.float32), r'^images of shape \(1, 2, 32, 32, 3\): expected'),
    (
      np.zeros((1, 40, 3, 3), np.float32),
      r'^images of 40 x 3 pixels are too small for the strides of the network: at least 4 x 4$',
    ),
  ],
)
def test_wrong_images_are_named(images, message):
  with pytest.raises(InputError, match=message):
    apply(golden_params(), images)


def test_at_initialization_every_branch_is_silent():
  params, _ = NET.init(KEY)
  outputs = compiled(params, IMAGES, return_features=True)
  assert_equal(outputs['block_2'], outputs['block_1'])


def test_variances_at_initialization_follow_the_plan():
  # alpha and gain 1, so that a branch adds as much as the stem gives; ReLU, whose gamma holds at
  # every scale.  Without stride nothing is averaged, and the centre does not see the zeros outside.
  variant = dataclasses.replace(
    VARIANTS['nfnet_tiny'],
    depths=(2, 3),
    widths=(128, 192),
    strides=(1, 1),
    stem_channels=64,
    neck=None,
    alpha=1.0,
    skip_gain=1.0,
    activation='relu',
  )
  model = Model('without_strides', variant, num_classes=0)
  params, state = model.init(KEY)
  images = np.random.default_rng(0).standard_normal((8, 48, 48, 3), dtype=np.float32)
  outputs, _ = jax.jit(functools.partial(model.apply, return_features=True))(
    params, state, None, images
  )
  centre = np.s_[:, 3:9, 3:9]
  variances = [np.mean(np.var(outputs[f'block_{i}'][centre], axis=(0, 1, 2))) for i in range(5)]
  places = list(plan.walk(64, widths=(128, 192), depths=(2, 3), strides=(1, 1), alpha=1.0))
  predicted = [place.variance for place in places[1:]] + [places[-1].variance + 1]
  assert predicted == [2, 3, 2, 3, 4]
  # Sampled over 128 or 192 channels; the gates of Squeeze-Excite are 1 only on average.
  np.testing.assert_allclose(variances, predicted, rtol=0.08)


class Wrapped(hk.Module):
  """Somebody's own network around ours."""

  def __init__(self, variant):
    super().__init__(name='wrapped')
    self.body = nfnets.NFNet(10, variant)

  def __call__(self, images):
    return jax.nn.softmax(self.body(images, is_training=False)['logits'])


def test_the_module_is_used_inside_another():
  network = hk.without_apply_rng(hk.transform(lambda images: Wrapped(SMALL)(images)))
  params = {f'wrapped/~/{module}': leaves for module, leaves in golden_params().items()}
  shapes = jax.eval_shape(network.init, KEY, jax.ShapeDtypeStruct(IMAGES.shape, jnp.float32))
  assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, params)
  expected = jax.nn.softmax(evaluate(IMAGES)['logits'])
  np.testing.assert_allclose(jax.jit(network.apply)(params, IMAGES), expected, rtol=1e-4)


@pytest.mark.parametrize(
  ('short', 'name'),
  [
    ('F0', 'nfnet_f0'),
    ('F0+', 'nfnet_f0_plus'),
    ('nfnet_f1', 'nfnet_f1'),
    (VARIANTS['nfnet_tiny'], 'nfnet_tiny'),
  ],
)
def test_variants_have_short_names(short, name):
  module = hk.transform(lambda: nfnets.NFNet(10, short).variant)
  assert module.apply({}, None) == VARIANTS[name]


def test_a_wrong_short_name_is_answered_with_the_nearest():
  with pytest.raises(InputError, match=r"^model='nfnet_f9' is not known: did you mean nfnet_f7"):
    hk.transform(lambda: nfnets.NFNet(10, 'F9').variant).apply({}, None)


def test_a_negative_number_of_classes_is_named():
  with pytest.raises(InputError, match=r'^num_classes=-1 must be 0 \(no classifier\) or more$'):
    hk.transform(lambda: nfnets.NFNet(-1, 'F0').variant).apply({}, None)


def test_a_group_wider_than_the_block_is_named():
  variant = dataclasses.replace(VARIANTS['nfnet_tiny'], group_width=64)
  with pytest.raises(InputError, match=r'^group_width=64 is more than the width 32 of block 0'):
    hk.transform(lambda: nfnets.NFNet(10, variant).variant).apply({}, None)
