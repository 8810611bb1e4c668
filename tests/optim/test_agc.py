"""AGC against a per-unit NumPy loop, against optax, and by hand."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nfnets.errors import InputError
from nfnets.optim import adaptive_grad_clip, clipped_units, read_clipped_fraction

CLIPPING, EPS = 0.04, 1e-2


def draw(shape, seed=0, spread=2.0):
  """Weights and gradients whose norm ratios lie on both sides of the limit, unit by unit."""
  rng = np.random.default_rng(seed)
  weights = rng.standard_normal(shape)
  last = shape[-1:] or ()
  gradients = rng.standard_normal(shape) * CLIPPING * np.exp(spread * rng.standard_normal(last))
  return np.asarray(gradients, np.float32), np.asarray(weights, np.float32)


@functools.cache
def compiled_clip(clipping, eps, **options):
  return jax.jit(adaptive_grad_clip(clipping, eps, **options).update)


def clip(gradients, params, clipping=CLIPPING, eps=EPS, **options):
  """What the transform makes of the gradients, and the fraction of units it clipped."""
  state = adaptive_grad_clip(clipping, eps).init(params)
  clipped, state = compiled_clip(clipping, eps, **options)(gradients, state, params)
  return clipped, float(state.clipped)


def slices(shape, outputs):
  """Index tuples of the units: one for each combination of the output axes' positions."""
  ranges = [range(n) if axis in outputs else [slice(None)] for axis, n in enumerate(shape)]
  return list(itertools.product(*ranges))


def oracle(gradient, weight, outputs, clipping=CLIPPING, eps=EPS):
  """The definition, one unit after the other in float64: (clipped gradient, how many clipped)."""
  result, count = gradient.astype(np.float64), 0
  for unit in slices(gradient.shape, outputs):
    norm = np.sqrt(np.sum(np.square(gradient[unit], dtype=np.float64)))
    limit = clipping * max(np.sqrt(np.sum(np.square(weight[unit], dtype=np.float64))), eps)
    if norm > limit:
      result[unit] *= limit / norm
      count += 1
  return result, count


SHAPES_AND_UNITS = [
  ((), ()),
  ((7,), ()),
  ((1,), ()),
  ((1, 1, 1, 6), ()),
  ((1, 1, 6, 1), ()),
  ((1, 1, 1, 1), ()),
  ((5, 8), (1,)),
  ((3, 5, 8), (2,)),
  ((3, 3, 4, 9), (3,)),
  ((3, 3, 1, 9), (3,)),
  ((1, 1, 4, 9), (3,)),
  ((3, 3, 4, 1), (3,)),
  ((2, 3, 3, 4, 5), (4,)),
]


@pytest.mark.parametrize(('shape', 'outputs'), SHAPES_AND_UNITS)
@pytest.mark.parametrize('seed', range(3))
def test_units_of_every_rank_follow_the_definition(shape, outputs, seed):
  gradient, weight = draw(shape, seed)
  expected, count = oracle(gradient, weight, outputs)
  clipped, fraction = clip({'m': {'w': gradient}}, {'m': {'w': weight}})
  np.testing.assert_allclose(clipped['m']['w'], expected, rtol=1e-6, atol=0)
  assert fraction == pytest.approx(count / len(slices(shape, outputs)))


def test_the_shapes_drawn_have_clipped_and_unclipped_units():
  fractions = [clip(*draw(shape))[1] for shape in ((5, 8), (3, 5, 8), (3, 3, 4, 9))]
  assert all(0 < fraction < 1 for fraction in fractions)


@pytest.mark.parametrize('rank', range(1, 6))
@pytest.mark.parametrize('seed', range(4))
def test_random_shapes_follow_the_definition(rank, seed):
  rng = np.random.default_rng([rank, seed])
  shape = tuple(int(n) for n in rng.integers(1, 5, size=rank))
  outputs = (rank - 1,) if sum(n > 1 for n in shape) > 1 else ()
  gradient, weight = draw(shape, seed)
  expected, _ = oracle(gradient, weight, outputs)
  np.testing.assert_allclose(clip(gradient, weight)[0], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize('shape', [shape for shape, _ in SHAPES_AND_UNITS])
def test_layer_norm_is_one_unit_per_array(shape):
  gradient, weight = draw(shape, spread=0.5)
  expected, count = oracle(gradient, weight, ())
  clipped, fraction = clip(gradient, weight, norm='layer')
  np.testing.assert_allclose(clipped, expected, rtol=1e-6, atol=0)
  assert fraction == count


@pytest.mark.parametrize(('scale', 'is_clipped'), [(1e-3, False), (30.0, True)])
def test_global_norm_is_one_unit_for_the_whole_tree(scale, is_clipped):
  drawn = {name: draw(shape, 1) for name, shape in {'a': (3, 4), 'b': (5,), 'c': ()}.items()}
  gradients = {name: scale * gradient for name, (gradient, _) in drawn.items()}
  params = {name: weight for name, (_, weight) in drawn.items()}
  flat = [np.concatenate([np.ravel(x) for x in tree.values()]) for tree in (gradients, params)]
  expected, count = oracle(*flat, ())
  clipped, fraction = clip(gradients, params, norm='global')
  result = np.concatenate([np.ravel(x) for x in clipped.values()])
  np.testing.assert_allclose(result, expected, rtol=1e-6, atol=0)
  assert fraction == count == is_clipped


@pytest.mark.parametrize(
  'shape', [(), (7,), (1, 1, 1, 6), (5, 8), (1, 8), (8, 1), (3, 3, 4, 9), (2, 3, 3, 4, 5)]
)
@pytest.mark.parametrize('seed', range(3))
def test_equals_optax_where_optax_knows_the_shape(shape, seed):
  gradient, weight = draw(shape, seed)
  theirs = optax.adaptive_grad_clip(CLIPPING, EPS)
  expected, _ = theirs.update(gradient, theirs.init(weight), weight)
  np.testing.assert_allclose(clip(gradient, weight)[0], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
  ('output_axes', 'optax_axes'), [((-2, -1), 0), ((-1,), (0, 1)), ((0,), (1, 2))]
)
def test_equals_optax_on_rank_3_with_the_axes_named(output_axes, optax_axes):
  gradient, weight = draw((6, 3, 4))
  theirs = optax.adaptive_grad_clip(CLIPPING, EPS, axis=optax_axes)
  expected, _ = theirs.update(gradient, theirs.init(weight), weight)
  clipped, fraction = clip(gradient, weight, output_axes=output_axes)
  np.testing.assert_allclose(clipped, expected, rtol=1e-6, atol=0)
  assert 0 < fraction < 1


def test_output_axes_can_be_told_leaf_by_leaf():
  shapes = {'attention': (6, 3, 4), 'conv': (3, 2, 5)}
  drawn = {module: draw(shape) for module, shape in shapes.items()}
  gradients = {module: {'w': gradient} for module, (gradient, _) in drawn.items()}
  params = {module: {'w': weight} for module, (_, weight) in drawn.items()}
  seen = []

  def output_axes(path, leaf):
    seen.append((path, leaf.shape))
    return (-2, -1) if path[0] == 'attention' else (-1,)

  clipped, _ = clip(gradients, params, output_axes=output_axes)
  assert seen == [(('attention', 'w'), (6, 3, 4)), (('conv', 'w'), (3, 2, 5))]
  for module, outputs in {'attention': (1, 2), 'conv': (2,)}.items():
    expected, _ = oracle(*drawn[module], outputs)
    np.testing.assert_allclose(clipped[module]['w'], expected, rtol=1e-6, atol=0)


def test_a_unit_at_its_limit_passes_and_the_fraction_counts_the_rest():
  # ||W|| is 5 for each column, so that the limit is 2.5; the columns' gradients have 2.5, 2.5 + one
  # unit in the last place, 0 and 5.  The gain adds a fifth unit, far above its limit of 0.5.
  params = {'c': {'w': np.float32([[3, 3, 3, 3], [4, 4, 4, 4]]), 'gain': np.float32([1.0])}}
  above = np.nextafter(np.float32(2.5), np.float32(3))
  gradients = {'c': {'w': np.float32([[2.5, above, 0, 3], [0, 0, 0, 4]]), 'gain': np.float32([9])}}
  clipped, fraction = clip(gradients, params, clipping=0.5)
  np.testing.assert_array_equal(clipped['c']['w'], np.float32([[2.5, 2.5, 0, 1.5], [0, 0, 0, 2]]))
  np.testing.assert_array_equal(clipped['c']['gain'], np.float32([0.5]))
  assert fraction == pytest.approx(3 / 5)
  counts = clipped_units(gradients, params, 0.5, eps=EPS)
  assert jax.tree.map(int, counts) == {'c': {'w': (2, 4), 'gain': (1, 1)}}


def test_weights_below_eps_count_as_eps():
  gradient, weight = np.float32([3, 4]), np.zeros(2, np.float32)
  np.testing.assert_allclose(clip(gradient, weight, 0.5, 0.1)[0], [0.03, 0.04], rtol=1e-6)


@pytest.mark.parametrize('dtype', [np.float32, np.float16, jnp.bfloat16])
@pytest.mark.parametrize('norm', ['unit', 'layer', 'global'])
@pytest.mark.parametrize('compiled', [False, True])
def test_gradients_within_the_limit_pass_bit_for_bit(dtype, norm, compiled):
  gradient = np.random.default_rng(0).standard_normal((3, 3, 4, 64)).astype(dtype)
  gradient[0, 0, 0, :4] = [0.0, -0.0, jnp.finfo(dtype).smallest_subnormal, jnp.finfo(dtype).tiny]
  weight = np.full(gradient.shape, 100, np.float32)
  transform = adaptive_grad_clip(1.0, norm=norm)
  update = jax.jit(transform.update) if compiled else transform.update
  clipped, state = update(gradient, transform.init(weight), weight)
  assert np.asarray(clipped).tobytes() == gradient.tobytes()
  assert state.clipped == 0


@pytest.mark.parametrize('norm', ['unit', 'layer', 'global'])
@pytest.mark.parametrize('weight', [0.0, 1.0])
def test_zero_gradients_stay_zero(norm, weight):
  gradients = {'w': np.zeros((3, 4), np.float32), 'skip_gain': np.zeros((), np.float32)}
  params = jax.tree.map(lambda g: np.full_like(g, weight), gradients)
  transform = adaptive_grad_clip(CLIPPING, norm=norm)
  with jax.debug_nans(True):  # not compiled, so that values which are not selected count too
    clipped, state = transform.update(gradients, transform.init(params), params)
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(clipped))
  assert state.clipped == 0


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_stays_visible(bad):
  gradient, weight = draw((5, 8))
  gradient[2, 3] = bad
  clipped, _ = clip(gradient, weight)
  assert not np.isfinite(clipped[2, 3])
  assert np.all(np.isfinite(np.delete(clipped, 3, axis=1)))


@pytest.mark.parametrize('dtype', [np.float16, jnp.bfloat16])
def test_norms_are_float32_and_the_dtype_is_kept(dtype):
  # In float16 the sum of squares overflows; in bfloat16 a sum of 512 equal terms is far off.
  gradient = np.full((512, 2), 64, dtype)
  weight = np.full((512, 2), 0.5, dtype)
  clipped, fraction = clip(gradient, weight, clipping=0.25)
  assert clipped.dtype == dtype
  np.testing.assert_array_equal(np.asarray(clipped, np.float32), 0.125)
  assert fraction == 1


def test_float64_is_not_rounded():
  with jax.enable_x64(True):
    gradient, weight = (x.astype(np.float64) for x in draw((5, 8)))
    clipped, _ = clip(gradient, weight)
    assert clipped.dtype == np.float64
    np.testing.assert_allclose(clipped, oracle(gradient, weight, (1,))[0], rtol=1e-14)


def test_one_big_and_many_small_units_are_independent():
  gradient, weight = draw((3, 3, 4, 9))
  alone = [clip(gradient[..., i], weight[..., i], norm='layer')[0] for i in range(9)]
  np.testing.assert_allclose(clip(gradient, weight)[0], np.stack(alone, axis=-1), rtol=1e-6)


@pytest.mark.parametrize('norm', ['unit', 'layer', 'global'])
def test_counts_are_those_of_the_transform(norm):
  drawn = {
    name: draw(shape) for name, shape in {'a': (3, 40), 'b': (5,), 'c': (3, 3, 2, 7)}.items()
  }
  gradients = {name: gradient for name, (gradient, _) in drawn.items()}
  params = {name: weight for name, (_, weight) in drawn.items()}
  counts = clipped_units(gradients, params, CLIPPING, eps=EPS, norm=norm)
  assert {name: count.total for name, count in counts.items()} == {
    'a': 40 if norm == 'unit' else 1,
    'b': 1,
    'c': 7 if norm == 'unit' else 1,
  }
  total = sum(count.total for count in counts.values())
  _, fraction = clip(gradients, params, norm=norm)
  assert fraction == pytest.approx(sum(int(c.clipped) for c in counts.values()) / total)


@pytest.mark.parametrize('norm', ['unit', 'layer', 'global'])
def test_masked_leaves_are_neither_clipped_nor_counted(norm):
  gradients = {'in': np.full((2, 3), 4, np.float32), 'out': np.full((2, 3), 1e6, np.float32)}
  params = {'in': np.ones((2, 3), np.float32), 'out': np.full((2, 3), 1e6, np.float32)}
  inner = adaptive_grad_clip(0.5, norm=norm)
  transform = optax.chain(optax.masked(inner, {'in': True, 'out': False}), optax.scale(-1.0))
  updates, state = jax.jit(transform.update)(gradients, transform.init(params), params)
  np.testing.assert_allclose(updates['in'], -0.5, rtol=1e-6)
  np.testing.assert_array_equal(updates['out'], -gradients['out'])
  assert read_clipped_fraction(state) == 1


def test_nothing_to_clip_is_a_fraction_of_zero():
  transform = optax.masked(adaptive_grad_clip(0.5), {'w': False})
  gradients = {'w': np.ones(3, np.float32)}
  _, state = transform.update(gradients, transform.init(gradients), gradients)
  assert read_clipped_fraction(state) == 0


def test_the_state_keeps_its_type_under_jit_and_pmap():
  gradient, weight = draw((5, 8))
  expected, fraction = clip(gradient, weight)
  transform = adaptive_grad_clip(jnp.float32(CLIPPING), jnp.float32(EPS))
  before = transform.init(weight)
  for mapped in (jax.jit(transform.update), unmap(jax.pmap(transform.update))):
    clipped, after = mapped(gradient, before, weight)
    np.testing.assert_array_equal(clipped, expected)
    assert after.clipped == np.float32(fraction)
    assert (after.clipped.dtype, after.clipped.shape) == (before.clipped.dtype, ())


def unmap(function):
  """Calls a pmapped function on one device as if it were not mapped."""

  def call(*args):
    return jax.tree.map(lambda x: x[0], function(*jax.tree.map(lambda x: x[None], args)))

  return call


def test_clipping_can_be_an_injected_schedule():
  gradient, weight = np.full((2, 3), 4, np.float32), np.ones((2, 3), np.float32)
  schedule = optax.piecewise_constant_schedule(0.5, {1: 0.1})
  transform = optax.inject_hyperparams(adaptive_grad_clip)(clipping=schedule)
  update, state = jax.jit(transform.update), transform.init(weight)
  for limit in (0.5, 0.05):
    clipped, state = update(gradient, state, weight)
    np.testing.assert_allclose(clipped, limit, rtol=1e-6)
  assert read_clipped_fraction(state) == 1


def test_no_agc_in_the_state_reads_as_none():
  assert read_clipped_fraction(optax.sgd(0.1, momentum=0.9).init({'w': np.ones(3)})) is None


def test_two_agcs_in_the_state_have_no_single_fraction():
  state = optax.chain(adaptive_grad_clip(0.1), adaptive_grad_clip(0.2)).init({'w': np.ones(3)})
  with pytest.raises(InputError, match=r'^opt_state holds 2 AdaptiveGradClipStates: must hold at'):
    read_clipped_fraction(state)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'clipping': 0.0}, r'^clipping=0.0: must be one finite number > 0$'),
    ({'clipping': 0.1, 'eps': -1}, r'^eps=-1: must be one finite number > 0$'),
    ({'clipping': 0.1, 'norm': 'row'}, r"^norm='row': must be one of unit, layer, global$"),
    ({'clipping': 0.1, 'output_axes': -1}, r'^output_axes=-1: must be a tuple of axes such as'),
    ({'clipping': 0.1, 'output_axes': 'ab'}, r"^output_axes='ab': must be a tuple of axes such as"),
  ],
)
def test_wrong_arguments_are_named(arguments, message):
  with pytest.raises(InputError, match=message):
    adaptive_grad_clip(**arguments)
  with pytest.raises(InputError, match=message):
    clipped_units({}, {}, **arguments)


@pytest.mark.parametrize(
  ('output_axes', 'message'),
  [
    ((2,), r"^output_axes=\(2,\): must be axes of \('m', 'w'\), whose shape is \[5, 8\]$"),
    ((-3, -1), r"^output_axes=\(-3, -1\): must be axes of \('m', 'w'\), whose shape is \[5, 8\]$"),
    ((-2, -1), r"^output_axes=\(-2, -1\): must leave an axis for the norm of \('m', 'w'\), whose"),
  ],
)
def test_axes_that_do_not_fit_a_kernel_are_named(output_axes, message):
  tree = {'m': {'w': np.ones((5, 8), np.float32)}}
  with pytest.raises(InputError, match=message):
    clipped_units(tree, tree, CLIPPING, output_axes=output_axes)


def test_missing_params_are_named():
  transform = adaptive_grad_clip(0.1)
  with pytest.raises(InputError, match=r'^params=None: adaptive_grad_clip compares gradients with'):
    transform.update({'w': np.ones(3)}, transform.init({'w': np.ones(3)}))
