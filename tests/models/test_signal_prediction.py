"""Signal propagation: the prediction against what was worked out by hand."""

import math

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.signal_networks import changed, with_gain

from nfnets.models.families import FAMILIES
from nfnets.models.initializers import Normal
from nfnets.models.signal_prediction import predict_signals
from nfnets.models.variants import VARIANTS
from nfnets.models.zoo import create_model

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
  without_zeros = predict_signals(create_model('fixup_resnet50', fixup_rules='shrunken'))
  assert np.isnan(without_zeros.branch_variance).all()


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
