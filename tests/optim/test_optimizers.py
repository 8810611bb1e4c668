"""SGD with AGC against a NumPy loop that writes the order of the steps out."""

import jax
import numpy as np
import optax
import pytest

from nfnets.errors import InputError
from nfnets.optim import group_tree, read_clipped_fraction, sgd_agc, warmup_cosine

SHAPES = {
  'NFNet/~/conv0': {'w': (3, 3, 2, 4), 'gain': (4,), 'bias': (4,)},
  'NFNet/~/nf_block': {'skip_gain': ()},
  'NFNet/~/nf_block/~/squeeze_excite/~/linear': {'w': (4, 2), 'b': (2,)},
  'NFNet/~/linear': {'w': (4, 3), 'b': (3,)},
}


def random_tree(rng, scale=1.0):
  return {
    module: {name: np.float32(scale * rng.standard_normal(shape)) for name, shape in leaves.items()}
    for module, leaves in SHAPES.items()
  }


def clip_leaf(gradient, weight, clipping, eps):
  axes = tuple(range(gradient.ndim - 1)) if gradient.ndim > 1 else None
  norm = np.sqrt(np.sum(gradient**2, axis=axes, keepdims=True))
  limit = clipping * np.maximum(np.sqrt(np.sum(weight**2, axis=axes, keepdims=True)), eps)
  return gradient * np.minimum(1, limit / norm)


def reference_steps(params, gradients, rates, *, clipped, decayed, momentum=0.9, nesterov=True):
  """Parameters after every step, in float64; clipping 0.01, eps 1e-3, decay 0.02."""
  group = group_tree(params)
  params = jax.tree.map(np.float64, params)
  velocity = jax.tree.map(np.zeros_like, params)
  for gradient, rate in zip(gradients, rates, strict=True):
    for module, leaves in params.items():
      for name, weight in leaves.items():
        step = np.float64(gradient[module][name])
        if group[module][name] in clipped:
          step = clip_leaf(step, weight, 0.01, 1e-3)
        if group[module][name] in decayed:
          step = step + 0.02 * weight
        velocity[module][name] = momentum * velocity[module][name] + step
        ahead = momentum * velocity[module][name] + step
        leaves[name] = weight - rate * (ahead if nesterov else velocity[module][name])
    yield jax.tree.map(np.copy, params)


@pytest.mark.parametrize(
  ('options', 'expected'),
  [
    ({}, {}),
    ({'nesterov': False}, {'nesterov': False}),
    ({'momentum': 0.5}, {'momentum': 0.5}),
    ({'clipping': None}, {'clipped': ()}),
    ({'clip_groups': ('classifier',)}, {'clipped': ('classifier',)}),
    ({'decay_groups': ()}, {'decayed': ()}),
    ({'weight_decay': 0.0}, {'decayed': ()}),
  ],
)
def test_several_steps_follow_the_written_out_order(options, expected):
  rng = np.random.default_rng(0)
  params, gradients = random_tree(rng), [random_tree(rng) for _ in range(5)]
  schedule = warmup_cosine(0.5, warmup_steps=2.5, total_steps=8)
  optimizer = sgd_agc(schedule, **{'weight_decay': 0.02} | options)
  policy = {'clipped': ('weights', 'gains_biases'), 'decayed': ('weights', 'classifier')}
  rates = [float(schedule(step)) for step in range(5)]
  update, state = jax.jit(optimizer.update), optimizer.init(params)
  for gradient, after in zip(
    gradients, reference_steps(params, gradients, rates, **policy | expected), strict=True
  ):
    updates, state = update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(after), strict=True):
      np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)  # weights of size 1 to 5


def test_the_defaults_are_the_papers():
  rng = np.random.default_rng(1)
  params, gradient = random_tree(rng), random_tree(rng)
  by_default, spelled_out = (
    optimizer.update(gradient, optimizer.init(params), params)[0]
    for optimizer in (
      sgd_agc(1.6),
      sgd_agc(
        1.6, momentum=0.9, nesterov=True, weight_decay=2e-5, clipping=0.01, clip_eps=1e-3,
        clip_norm='unit', clip_groups=('weights', 'gains_biases'),
        decay_groups=('weights', 'classifier'),
      ),
    )
  )  # fmt: skip
  jax.tree.map(np.testing.assert_array_equal, by_default, spelled_out)


@pytest.mark.parametrize(('norm', 'fraction'), [('unit', 1 / 11), ('layer', 1 / 7), ('global', 1)])
def test_the_fraction_of_clipped_units_can_be_read(norm, fraction):
  # One column of conv0 is far above its limit.  The units are conv0's 4 + 1 + 1, the skip gain, the
  # gate's 2 + 1 and the bias of the classifier; they lie in 7 arrays.
  params = jax.tree.map(np.ones_like, random_tree(np.random.default_rng(0)))
  gradient = jax.tree.map(lambda p: np.float32(1e-3) * p, params)
  gradient['NFNet/~/conv0']['w'][..., 0] = 1
  optimizer = sgd_agc(0.1, clip_norm=norm)
  _, state = optimizer.update(gradient, optimizer.init(params), params)
  assert read_clipped_fraction(state) == pytest.approx(fraction)


def test_without_clipping_there_is_no_fraction():
  params = random_tree(np.random.default_rng(0))
  assert read_clipped_fraction(sgd_agc(0.1, clipping=None).init(params)) is None


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'learning_rate': -0.1}, r'^learning_rate=-0.1: must be one finite number >= 0$'),
    ({'momentum': 1.0}, r'^momentum=1.0: must be one finite number >= 0 and < 1$'),
    ({'weight_decay': -1e-5}, r'^weight_decay=-1e-05: must be one finite number >= 0$'),
    ({'clipping': 0}, r'^clipping=0: must be one finite number > 0$'),
    ({'clip_eps': 0}, r'^eps=0: must be one finite number > 0$'),
    ({'clip_norm': 'rows'}, r"^norm='rows': must be one of unit, layer, global$"),
    ({'clip_groups': ('biases',)}, r"^group='biases': must be one of weights, gains_biases, class"),
    (
      {'decay_groups': ('all',)},
      r"^group='all': must be one of weights, gains_biases, classifier$",
    ),
  ],
)
def test_wrong_arguments_are_named(options, message):
  with pytest.raises(InputError, match=message):
    sgd_agc(**{'learning_rate': 0.1} | options)


DEPTHS = {'NFNet/~/stem_conv0': 0, 'NFNet/~/nf_block': 1, 'NFNet/~/linear': 2}


def placed_tree(rng):
  """Parameters of the same shapes, one module at each depth."""
  tree = random_tree(rng)
  tree['NFNet/~/stem_conv0'] = tree.pop('NFNet/~/conv0')
  return {module: tree[module] for module in DEPTHS}


def moved(options, steps=3):
  """How far parameters are after a few steps of constant rate, and the optimizer's state."""
  rng = np.random.default_rng(2)
  start = params = placed_tree(rng)
  optimizer = sgd_agc(0.1, clipping=None, weight_decay=0.0, **options)
  state = optimizer.init(params)
  for _ in range(steps):
    updates, state = optimizer.update(placed_tree(rng), state, params)
    params = optax.apply_updates(params, updates)
  return jax.tree.map(lambda a, b: a - b, params, start), state


def test_layer_decay_is_a_learning_rate_of_each_depth():
  plain, decayed = moved({})[0], moved({'layer_decay': 0.3})[0]
  for module, depth in DEPTHS.items():
    for name, distance in plain[module].items():
      np.testing.assert_allclose(
        decayed[module][name], distance * 0.3 ** (2 - depth), rtol=1e-5, atol=1e-6
      )


def test_what_is_frozen_has_no_momentum_and_does_not_move():
  distance, state = moved({'frozen': {'stem', 'block_0'}})
  plain, whole = moved({})
  assert all(not np.any(x) for m in list(DEPTHS)[:2] for x in distance[m].values())
  jax.tree.map(np.testing.assert_array_equal, distance['NFNet/~/linear'], plain['NFNet/~/linear'])
  assert len(jax.tree.leaves(whole)) - len(jax.tree.leaves(state)) == 4  # w, gain, bias; skip_gain


def test_what_is_frozen_does_not_decay_and_is_not_counted_by_agc():
  rng = np.random.default_rng(0)
  params = placed_tree(rng)
  gradient = jax.tree.map(lambda p: np.float32(1e-9) * p, params)
  gradient['NFNet/~/stem_conv0'] = jax.tree.map(np.ones_like, params['NFNet/~/stem_conv0'])
  fractions = {}
  for frozen in [(), ('stem',)]:
    optimizer = sgd_agc(0.1, weight_decay=0.5, frozen=frozen)
    updates, state = optimizer.update(gradient, optimizer.init(params), params)
    fractions[frozen] = float(read_clipped_fraction(state))
    assert np.any(updates['NFNet/~/linear']['w'])
    assert bool(np.any(updates['NFNet/~/stem_conv0']['w'])) == (not frozen)
  assert fractions[()] == pytest.approx(6 / 8)  # units of the stem: 4 + 1 + 1
  assert fractions['stem',] == 0
