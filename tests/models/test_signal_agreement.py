"""Signal propagation: the prediction against the measurement."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.signal_networks import CURVES, changed, normal_images, statistics_of, with_gain

from nfnets.models.families import FAMILIES
from nfnets.models.layers import Mode, Terms
from nfnets.models.signal_prediction import predict_signals
from nfnets.models.signals import signal_propagation
from nfnets.models.taps import collect, tap
from nfnets.models.variants import VARIANTS


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
  [
    pytest.param(True, 2, marks=pytest.mark.slow),
    pytest.param(True, 4, marks=pytest.mark.slow),
    (False, 2),
  ],
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
