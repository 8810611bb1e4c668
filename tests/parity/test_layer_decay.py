"""Rates that fall with the depth, against timm's own.  Skipped where torch or timm is missing."""

import numpy as np
import pytest
from weights.timm_trees import NAMES

import nfnets
from nfnets.optim import scale_by_depth
from nfnets.weights.timm_names import to_timm

torch = pytest.importorskip('torch')
pytest.importorskip('parity.timm_networks')

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
  'name', ['test_nfnet', 'nfnet_l0', 'timm_nf_resnet50', 'timm_nf_regnet_b1']
)
def test_every_parameter_has_the_rate_that_timm_gives_it(name: str):
  import timm
  from timm.optim import param_groups_layer_decay

  with torch.device('meta'):
    network = timm.create_model(NAMES[name])
  keys = {id(parameter): key for key, parameter in network.named_parameters()}
  theirs = {
    keys[id(parameter)]: group['lr_scale']
    for group in param_groups_layer_decay(network, layer_decay=0.75)
    for parameter in group['params']
  }
  shapes, _ = nfnets.create_model(name).shapes()
  ones = {m: {n: np.ones(x.shape, np.float32) for n, x in shapes[m].items()} for m in shapes}
  updates, _ = scale_by_depth(0.75).update(ones, scale_by_depth(0.75).init(ones))
  ours = {key: {float(x) for x in np.unique(array)} for key, array in to_timm(updates).items()}
  assert ours == {key: {float(np.float32(scale))} for key, scale in theirs.items()}
