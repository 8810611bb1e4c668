"""What we say of timm's released weights, against timm itself.  Skipped where that is missing."""

import numpy as np
import pytest
from weights.timm_trees import NAMES

from nfnets.weights.timm_hub import RELEASED

pytest.importorskip('torch')
timm_networks = pytest.importorskip('parity.timm_networks')

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('name', RELEASED)
def test_a_row_is_timms(name: str) -> None:
  row, timms = RELEASED[name], timm_networks.released(NAMES[name])
  assert row.repo == timms.hf_hub_id
  assert row.train_size == timms.input_size[-1]
  assert row.test_size == (timms.test_input_size or timms.input_size)[-1]
  assert row.crop_fraction == (timms.test_crop_pct or timms.crop_pct)
  assert row.squash == (timms.crop_mode == 'squash')
  assert timms.crop_mode in ('squash', 'center')
  assert timms.interpolation == 'bicubic'
  np.testing.assert_allclose(row.mean, 255 * np.array(timms.mean))
  np.testing.assert_allclose(row.std, 255 * np.array(timms.std))


def test_no_row_is_missing() -> None:
  assert {NAMES[name] for name in RELEASED} == set(timm_networks.names(pretrained=True))
