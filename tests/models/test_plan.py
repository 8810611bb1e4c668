"""The variance bookkeeping, by hand."""

import itertools

import pytest

from nfnets.models.plan import Place, walk
from nfnets.models.variants import VARIANTS


def places(name: str) -> list[Place]:
  variant = VARIANTS[name]
  return list(
    walk(
      variant.widths[0] // 2,
      widths=variant.widths,
      depths=variant.depths,
      strides=variant.strides,
      alpha=variant.alpha,
    )
  )


def test_betas_of_nfnet_f0_by_hand():
  # The stem has variance 1.  Every later stage takes in what its forerunner's blocks added up:
  # 1 + 0.04 for each of them.  After its first block it is at 1.04, and so on.
  variances = [1.00]
  variances += [1.04, 1.04]
  variances += [1.08, 1.04, 1.08, 1.12, 1.16, 1.20]
  variances += [1.24, 1.04, 1.08]
  assert [place.variance for place in places('nfnet_f0')] == pytest.approx(variances, rel=1e-12)
  betas = [place.beta for place in places('nfnet_f0')]
  assert betas == pytest.approx([variance**-0.5 for variance in variances], rel=1e-12)


def test_places_of_nfnet_f0():
  found = places('nfnet_f0')
  assert [place.stage for place in found] == [0] + 2 * [1] + 6 * [2] + 3 * [3]
  assert [place.stride for place in found] == [1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1]
  assert [place.in_channels for place in found] == [128, 256] + 2 * [512] + 8 * [1536]
  assert [place.out_channels for place in found] == [256] + 2 * [512] + 9 * [1536]
  # The first of the last stage keeps its channels, and projects because it is strided.
  assert [place.index for place in found if place.needs_projection] == [0, 1, 3, 9]


@pytest.mark.parametrize('name', VARIANTS)
def test_every_stage_starts_anew_with_its_first_block(name):
  found = places(name)
  assert len(found) == sum(VARIANTS[name].depths)
  for before, place in itertools.pairwise(found):
    starts_stage = [one.stage for one in found].index(before.stage) == before.index
    expected = (1 if starts_stage else before.variance) + VARIANTS[name].alpha ** 2
    assert place.variance == pytest.approx(expected, rel=1e-12)


def test_alpha_is_squared_once_per_block():
  found = list(walk(8, widths=(8,), depths=(4,), strides=(1,), alpha=0.5))
  assert [place.variance for place in found] == pytest.approx([1, 1.25, 1.5, 1.75])
  assert not any(place.needs_projection for place in found)


def test_the_ramp_of_stochastic_depth_starts_at_0_and_ends_before_1():
  ramp = [place.depth_fraction for place in places('nfnet_f0')]
  assert ramp == pytest.approx([index / 12 for index in range(12)])


def test_a_stride_for_every_stage_is_needed():
  with pytest.raises(ValueError, match='argument'):
    list(walk(8, widths=(8, 8), depths=(1, 1), strides=(1,), alpha=0.2))
