"""Signal propagation: the measurement against NumPy, the prediction against the measurement."""

import dataclasses
import math

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from micro import micro_model

from nfnets.errors import InputError
from nfnets.models.families import FAMILIES
from nfnets.models.initializers import Normal
from nfnets.models.layers import Mode, Terms
from nfnets.models.signals import Signals, predict_signals, signal_propagation
from nfnets.models.taps import collect, tap
from nfnets.models.variants import VARIANTS
from nfnets.models.zoo import Model, create_model

CURVES = ('squared_mean', 'variance', 'branch_variance')


def normal_images(seed: int, *shape: int) -> jax.Array:
  return jax.random.normal(jax.random.key(1000 + seed), shape)


def with_gain(name: str, **options) -> Model:
  """The network with gain 1, if it has gains."""
  if 'skip_gain' in FAMILIES[VARIANTS[name].family].options:
    options['skip_gain'] = 1.0
  return create_model(name, **options)


def changed(model: Model, **changes) -> Model:
  return dataclasses.replace(model, variant=dataclasses.replace(model.variant, **changes))


def statistics_of(x: np.ndarray) -> tuple[float, float]:
  """Average channel squared mean, average channel variance."""
  rows = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
  return np.mean(rows.mean(0) ** 2), np.mean(rows.var(0))


def assert_same(a: Signals, b: Signals) -> None:
  for curve in CURVES:
    np.testing.assert_array_equal(getattr(a, curve), getattr(b, curve))


# --- Measured


def two_blocks(params: dict, images: jax.Array) -> jax.Array:
  """Somebody's network; its feature maps need not be maps."""
  x = jnp.mean(images, (1, 2))
  for weight in params['weights']:
    x = tap('block', x + tap('branch', x @ weight))
  return x


def tapping(*names: str):
  def function(params: object, images: jax.Array) -> None:
    for name in names:
      tap(name, images)

  return function


def test_the_curves_of_a_function_are_those_of_numpy():
  rng = np.random.default_rng(0)
  params = {'weights': [jnp.asarray(rng.normal(size=(3, 3)), jnp.float32) for _ in range(2)]}
  images = jnp.asarray(rng.normal(1, 1, (8, 4, 4, 3)), jnp.float32)
  found = signal_propagation(two_blocks, params, images)
  _, tapped = collect(two_blocks, statistics_of)(params, images)
  assert found.names == ('block_0', 'block_1')
  np.testing.assert_allclose(found.squared_mean, [mean for mean, _ in tapped['block']], 1e-5)
  np.testing.assert_allclose(found.variance, [spread for _, spread in tapped['block']], 1e-5)
  np.testing.assert_allclose(
    found.branch_variance, [spread for _, spread in tapped['branch']], 1e-5
  )


def test_the_statistics_of_bfloat16_are_float32():
  # Its means are known to 1 part in 256, which is more than the deviation.
  images = jnp.asarray(np.random.default_rng(0).normal(100, 0.5, (8, 16, 16, 4)), jnp.bfloat16)
  found = signal_propagation(tapping('branch', 'block'), {}, images)
  squared_mean, variance = statistics_of(images)
  np.testing.assert_allclose(found.squared_mean, squared_mean, rtol=1e-6)
  np.testing.assert_allclose(found.variance, variance, rtol=1e-4)


def test_the_curves_of_a_network_are_those_of_its_features():
  model = changed(micro_model(), skip_gain=1.0)
  params, state = model.init(jax.random.key(0))
  images = normal_images(0, 4, 17, 20, 3)
  found = signal_propagation(model, params, images)
  apply = jax.jit(lambda *args: model.apply(*args, return_features=True))
  outputs, _ = apply(params, state, None, images)
  features = [statistics_of(outputs[name]) for name in found.names]
  assert len(features) == 3
  np.testing.assert_allclose(found.squared_mean, [mean for mean, _ in features], rtol=1e-4)
  np.testing.assert_allclose(found.variance, [variance for _, variance in features], rtol=1e-4)
  assert np.all(found.branch_variance > 0.01)


def test_nothing_is_dropped():
  images = normal_images(0, 2, 16, 16, 3)
  calm, wild = micro_model(), micro_model(drop_rate=0.9)
  params, _ = calm.init(jax.random.key(0))
  assert_same(signal_propagation(wild, params, images), signal_propagation(calm, params, images))


def test_batch_normalization_goes_by_the_images():
  model = changed(create_model('wide_resnet_16_2'), depths=(1, 1, 1))
  params, state = model.init(jax.random.key(0))
  images = normal_images(0, 4, 16, 16, 3)
  found = signal_propagation(model, params, images)
  larger = signal_propagation(model, params, 7 * images)
  for curve in CURVES:
    np.testing.assert_allclose(getattr(larger, curve), getattr(found, curve), rtol=1e-3)  # eps
  other_state = jax.tree.map(lambda leaf: leaf + 3, state)
  assert_same(signal_propagation(model, params, images, state=other_state), found)


def test_loops_over_blocks_are_taken_apart():
  model = changed(micro_model(), depths=(1, 4))
  looped = dataclasses.replace(
    model, execution=dataclasses.replace(model.execution, scan_from=2, remat='block')
  )
  params, _ = model.init(jax.random.key(0))
  images = normal_images(0, 2, 16, 16, 3)
  found = signal_propagation(looped, params, images)
  assert len(found.names) == 5
  assert_same(found, signal_propagation(model, params, images))


def test_a_function_is_compiled_once():
  traced = []

  def counting(params: dict, images: jax.Array) -> jax.Array:
    traced.append(1)
    return two_blocks(params, images)

  params = {'weights': [jnp.eye(3)]}
  for seed in range(3):
    signal_propagation(counting, params, normal_images(seed, 2, 4, 4, 3))
  assert len(traced) == 1


def in_a_loop(params: object, images: jax.Array) -> jax.Array:
  return jax.lax.scan(lambda x, _: (tap('block', tap('branch', x)), None), images, None, 3)[0]


def in_a_checkpoint(params: object, images: jax.Array) -> jax.Array:
  return jax.checkpoint(lambda x: tap('block', tap('branch', x)))(images)


@pytest.mark.parametrize(
  ('function', 'message'),
  [
    (tapping(), r"called tap\('block', x\) 0 times and tap\('branch', y\) 0 times"),
    (tapping('block'), r"tap\('block', x\) 1 times and tap\('branch', y\) 0 times: every residual"),
    (tapping('branch', 'branch', 'block'), r'1 times and .* 2 times'),
    (in_a_loop, r'taps inside of lax\.scan, jax\.checkpoint'),
    (in_a_checkpoint, r'taps inside of lax\.scan, jax\.checkpoint'),
    ('nf_resnet50', r"model='nf_resnet50' is neither a Model nor a function"),
  ],
)
def test_a_network_that_shows_nothing_is_refused(function, message):
  with pytest.raises(InputError, match=message) as raised:
    signal_propagation(function, {}, normal_images(0, 2, 4, 4, 3))
  assert '\n' not in str(raised.value)


def test_a_function_has_no_state():
  with pytest.raises(InputError, match=r'state: a function of \(params, images\) takes none'):
    signal_propagation(two_blocks, {}, normal_images(0, 2, 4, 4, 3), state={})


def test_images_are_checked_as_by_the_network():
  model = micro_model()
  params, _ = model.init(jax.random.key(0))
  with pytest.raises(InputError, match='float32 or bfloat16'):
    signal_propagation(model, params, jnp.zeros((2, 16, 16, 3), jnp.uint8))


# --- Predicted, by hand

VARIANCE_OF_RELU = 1 / 2 - 1 / (2 * math.pi)  # of a standard normal number
QUADRATURE = 5e-4  # relative error at a kink
TRUNCATED = 0.7737413  # variance of a standard normal number within -2 and 2


def test_the_betas_assume_the_recursion():
  predicted = predict_signals(create_model('nfnet_f0'))
  expected = [1.04, 1.04, 1.08, 1.04, 1.08, 1.12, 1.16, 1.2, 1.24, 1.04, 1.08, 1.12]
  np.testing.assert_allclose(predicted.assumed_variance, expected, rtol=1e-12)
  np.testing.assert_array_equal(predicted.stages, [0] + 2 * [1] + 6 * [2] + 3 * [3])
  assert np.isnan(predict_signals(create_model('resnet50')).assumed_variance).all()


def test_without_pooling_and_nonlinearity_the_recursion_is_exact():
  model = changed(with_gain('nfnet_f0', activation='identity'), strides=(1, 2, 1, 1))
  model = changed(model, widths=(256, 512, 1024, 1536))  # so that every stage has a projection
  predicted = predict_signals(model)
  assumed = predicted.assumed_variance.copy()
  np.testing.assert_allclose(predicted.variance[0], assumed[0], rtol=1e-6)
  # The pooled shortcut of the second stage has a quarter, which the next projection takes for 1.08.
  np.testing.assert_allclose(predicted.variance[1], 0.25 + 0.04, rtol=1e-6)
  np.testing.assert_allclose(predicted.variance[3], predicted.variance[2] / 1.08 * 1.04, rtol=1e-6)
  unpooled = predict_signals(changed(model, strides=(1, 1, 1, 1)))
  np.testing.assert_allclose(unpooled.variance, assumed, rtol=1e-6)
  np.testing.assert_allclose(unpooled.branch_variance, 1, rtol=1e-6)
  np.testing.assert_allclose(unpooled.squared_mean, 0, atol=1e-6)


def test_the_gain_scales_what_a_branch_adds():
  model = create_model('nf_wide_resnet_16_4', activation='identity')
  depths = changed(model, depths=(3, 1, 1))
  # Gain 0: 1 throughout the first stage, of which the next projection expects 1.12.
  np.testing.assert_allclose(
    predict_signals(depths).variance, [1, 1, 1, 1 / 1.12, 1 / 1.12 / 1.04], rtol=1e-6
  )
  doubled = predict_signals(changed(depths, skip_gain=2.0))
  first = 1 + 4 * 0.04
  second = first + 4 * 0.04 * first / 1.04
  np.testing.assert_allclose(doubled.variance[:2], [first, second], rtol=1e-6)
  np.testing.assert_allclose(doubled.branch_variance[1], first / 1.04, rtol=1e-6)


def test_padding_takes_its_share():
  model = changed(create_model('nf_wide_resnet_16_4', activation='identity'), depths=(1, 1, 1))
  predicted = predict_signals(model, 8)

  def convolved(line: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
      line = np.convolve(line, np.ones(3) / 3, 'same')
    return line

  # Without gain a block projects what the stem leaves; its branch has two convolutions more.
  np.testing.assert_allclose(
    predicted.variance[0], np.mean(convolved(np.ones(8), 1)) ** 2, rtol=1e-6
  )
  np.testing.assert_allclose(
    predicted.branch_variance[0], np.mean(convolved(np.ones(8), 3)) ** 2, rtol=1e-6
  )


def test_batch_normalization_makes_the_variance_grow_by_steps():
  predicted = predict_signals(create_model('resnet50'))
  steps = np.array([2, 3, 4, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7, 2, 3, 4])
  # The shortcut of the first block sees what the max-pool left, which is not normal.
  inner = np.arange(16) > 2
  branch = TRUNCATED * VARIANCE_OF_RELU
  np.testing.assert_allclose(predicted.branch_variance, branch, rtol=QUADRATURE)
  np.testing.assert_allclose(predicted.variance[inner], (branch * steps)[inner], rtol=QUADRATURE)
  squared_mean = TRUNCATED / (2 * math.pi) * steps
  np.testing.assert_allclose(predicted.squared_mean[inner], squared_mean[inner], rtol=QUADRATURE)


def test_without_any_normalization_the_mean_square_doubles():
  model = changed(with_gain('skipinit_wide_resnet_16_4'), depths=(8, 1, 1))
  predicted = predict_signals(model)
  square = predicted.squared_mean + predicted.variance
  # He's initialization keeps it: 2 behind the stem, of which the projection halves none.
  np.testing.assert_allclose(square, 2.0 ** np.arange(2, 12), rtol=1e-3)
  # More and more of it is mean.
  share = predicted.squared_mean / square
  assert np.all(np.diff(share[:8]) > 0)
  assert share[7] > 0.8


def test_dividing_by_the_square_root_of_two_keeps_the_mean_square():
  predicted = predict_signals(create_model('sqrt2_wide_resnet_100_2'))
  np.testing.assert_allclose(predicted.squared_mean + predicted.variance, 2, rtol=1e-2)


def test_fixup_starts_with_shortcuts_alone():
  predicted = predict_signals(create_model('fixup_resnet50'))
  np.testing.assert_array_equal(predicted.branch_variance, 0)
  for stage in range(4):
    assert len(set(predicted.variance[predicted.stages == stage])) == 1
  unknown = predict_signals(create_model('fixup_resnet50', activation='silu'))
  assert np.isnan(unknown.variance).all()


def test_behind_post_activation_little_is_known():
  predicted = predict_signals(create_model('resnet50_v1'))
  starts = np.isin(np.arange(16), [0, 3, 7, 13])
  np.testing.assert_allclose(predicted.branch_variance, 1)
  np.testing.assert_allclose(predicted.variance[starts], 2 * VARIANCE_OF_RELU, rtol=QUADRATURE)
  np.testing.assert_allclose(predicted.squared_mean[starts], 1 / math.pi, rtol=QUADRATURE)
  assert np.isnan(predicted.variance[~starts]).all()


def test_the_variance_of_truncated_weights():
  weights = jax.random.key(0)
  drawn = hk.transform(lambda: Normal(truncated=True)((1, 1, 100, 10_000), jnp.float32))
  found = 100 * np.var(drawn.apply({}, weights))
  # A million numbers of kurtosis below 3: a standard deviation below sqrt(2 / 10^6) = 0.0014.
  np.testing.assert_allclose(found, TRUNCATED, rtol=4 * 0.0014)


@pytest.mark.parametrize('family', FAMILIES)
def test_every_family_has_its_prediction(family):
  name = next(name for name, row in VARIANTS.items() if row.family == family)
  for size in (None, 64):
    predicted = predict_signals(with_gain(name), size)
    assert np.isfinite(predicted.branch_variance).all()
    assert np.isfinite(predicted.variance[0])


# --- Predicted and measured


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
  """Two stages of a network, three blocks, and how far prediction and measurement may be apart.

  The tolerances are what the approximations leave, and four standard errors of the mean over four
  seeds; both were measured over twenty other seeds.  Networks without normalization scatter the
  most: of what their first layers draw, all others make more.
  """

  name: str
  width_factor: float
  size: int = 64
  batch: int = 4
  variance: float
  branch: float
  squared_mean: float | None = None
  """None for standardized weights: about 0 is predicted."""


CASES = [
  Case(name='nf_resnet50', width_factor=1, variance=0.06, branch=0.07),
  Case(name='resnet50_v1', width_factor=0.5, variance=0.03, branch=0.001, squared_mean=0.03),
  Case(
    name='wide_resnet_16_4',
    width_factor=2, size=16, batch=8, variance=0.05, branch=0.05, squared_mean=0.25,
  ),
  Case(
    name='skipinit_wide_resnet_16_4',
    width_factor=2, size=16, batch=8, variance=0.26, branch=0.34, squared_mean=0.37,
  ),
  Case(name='nf_wide_resnet_16_4', width_factor=2, size=16, batch=8, variance=0.09, branch=0.13),
]  # fmt: skip
SLOW_CASES = [
  Case(name='nfnet_tiny', width_factor=2, batch=8, variance=0.1, branch=0.17),
  Case(name='nfnet_l0', width_factor=0.5, batch=8, variance=0.09, branch=0.16),
  Case(name='nf_regnet_b0', width_factor=2, batch=8, variance=0.13, branch=0.14),
  # Pools maxima of windows that overlap, which are less independent than the prediction has them.
  Case(name='timm_nf_resnet50', width_factor=1, variance=0.5, branch=0.43),
  Case(name='resnet50', width_factor=1, variance=0.04, branch=0.03, squared_mean=0.21),
  Case(name='skipinit_resnet50', width_factor=2, variance=0.14, branch=0.35, squared_mean=0.3),
  Case(name='fixup_resnet50', width_factor=2, variance=0.14, branch=0, squared_mean=0.25),
  Case(
    name='sqrt2_wide_resnet_16_4',
    width_factor=4, size=16, batch=8, variance=0.29, branch=0.41, squared_mean=0.51,
  ),
  Case(
    name='fixup_wide_resnet_16_4',
    width_factor=4, size=16, batch=8, variance=0.22, branch=0, squared_mean=0.32,
  ),
]  # fmt: skip


def test_every_family_is_measured():
  assert {VARIANTS[case.name].family for case in CASES + SLOW_CASES} == set(FAMILIES)


@pytest.mark.parametrize(
  'case',
  CASES + [pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES],
  ids=lambda case: case.name,
)
def test_the_prediction_is_what_is_measured(case):
  whole = with_gain(case.name, width_factor=case.width_factor)
  widths, strides = whole.variant.widths[:2], whole.variant.strides[:2]
  # Without groups, of which the analysis does not speak, there is far less to compile.
  model = changed(whole, depths=(1, 2), widths=widths, strides=strides, group_width=None)
  found = []
  for seed in range(100, 104):
    params, _ = model.init(jax.random.key(seed))
    images = normal_images(seed, case.batch, case.size, case.size, 3)
    signals = signal_propagation(model, params, images)
    found.append([getattr(signals, curve) for curve in CURVES])
  squared_mean, variance, branch_variance = np.mean(found, axis=0)
  predicted = predict_signals(model, case.size)
  known = np.isfinite(predicted.variance)
  assert known[:2].all()
  np.testing.assert_allclose(variance[known], predicted.variance[known], rtol=case.variance)
  np.testing.assert_allclose(branch_variance, predicted.branch_variance, rtol=case.branch)
  if case.squared_mean is None:
    assert np.all(predicted.squared_mean < 0.01 * predicted.variance)
    assert np.all(squared_mean < 0.05 * variance)
  else:
    np.testing.assert_allclose(
      squared_mean[known], predicted.squared_mean[known], rtol=case.squared_mean
    )


NORMALIZER_FREE = [
  next(name for name, row in VARIANTS.items() if row.family == family)
  for family in FAMILIES
  if FAMILIES[family].tracks_variance
]


@pytest.mark.parametrize(
  ('attention', 'stages'),
  [(True, 2), pytest.param(True, 4, marks=pytest.mark.slow), (False, 2)],
)
@pytest.mark.parametrize('name', NORMALIZER_FREE)
def test_every_block_follows_the_recursion_of_the_betas(name, attention, stages):
  """Given what its beta assumes it leaves what the next one's assumes: the step of an induction.

  What enters is normally distributed, with neighbours equal where a shortcut pools them.
  """
  model = with_gain(name, width_factor=0.25 if name == 'nfnet_f0' else 1)
  row = model.variant
  model = changed(
    model,
    group_width=None,
    depths=row.depths[:stages],
    widths=row.widths[:stages],
    strides=row.strides[:stages],
    se_ratio=row.se_ratio if attention else None,
    eca=row.eca and attention,
  )
  params, state = model.init(jax.random.key(0))
  rng = np.random.default_rng(0)

  def blocks_one_by_one() -> None:
    network = model.module()
    for place, block in zip(network.places, network.blocks, strict=True):
      x = rng.normal(0, place.variance**0.5, (8, 12, 12, place.in_channels))
      x = jnp.asarray(x.repeat(place.stride, 1).repeat(place.stride, 2), jnp.float32)
      tap('block', block(x, Mode(True, jnp.arange(8)), Terms(np.float32(place.beta))))

  apply = hk.transform_with_state(blocks_one_by_one).apply
  _, tapped = collect(lambda: apply(params, state, None), lambda x: statistics_of(x)[1])()
  # The padding takes up to a fourth of the branch, which is a twentieth of the whole; GELU and SiLU
  # make of the variance v a little more or less than v times what they make of 1.
  assumed = predict_signals(model).assumed_variance
  np.testing.assert_allclose(tapped['block'], assumed, rtol=0.03)
  np.testing.assert_allclose(tapped['branch'], 1, atol=0.3)
