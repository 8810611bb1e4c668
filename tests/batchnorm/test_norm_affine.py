"""Batch normalization as constants."""

import haiku as hk
import numpy as np
import pytest
from batchnorm.norm_networks import IMAGES, KINDS, assert_close, make, run

from nfnets import batchnorm
from nfnets.errors import InputError


def test_constants_are_what_evaluation_does():
  network = make(lambda x, t: hk.BatchNorm(True, True, 0.9, name='norm')(x, t))
  constants = batchnorm.affine_constants(network.params, network.state)
  wanted, _ = run(network.apply, network, IMAGES, False)
  scale, offset = constants['norm']
  np.testing.assert_allclose(IMAGES * scale + offset, wanted, rtol=1e-4, atol=1e-5)


def test_a_module_without_scale_and_offset():
  network = make(lambda x, t: hk.BatchNorm(False, False, 0.9, name='norm')(x, t))
  scale, offset = batchnorm.affine_constants(network.params, network.state)['norm']
  wanted, _ = run(network.apply, network, IMAGES, False)
  np.testing.assert_allclose(IMAGES * scale + offset, wanted, rtol=1e-4, atol=1e-5)
  with pytest.raises(InputError, match=r'^params: norm has no scale and offset'):
    batchnorm.absorb_statistics(network.params, network.state)


@pytest.mark.parametrize('kind', KINDS)
def test_absorbed_statistics_give_the_same_network(kind):
  network = KINDS[kind]()
  params, state = batchnorm.absorb_statistics(network.params, network.state)
  found, _ = run(network.apply, network._replace(params=params, state=state), IMAGES, False)
  wanted, _ = run(network.apply, network, IMAGES, False)
  assert_close(found, wanted)
  for mean, variance in batchnorm.read_averages(state).values():
    assert not mean.any()
    np.testing.assert_allclose(variance, 1 - 1e-5, rtol=1e-6)
