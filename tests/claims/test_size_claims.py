"""The rules about paths, sizes and independence."""

import numpy as np
import pytest

from nfnets.claims.claim import Source
from nfnets.claims.networks import batch_independence, network_sizes
from nfnets.claims.signal import path_lengths


@pytest.fixture
def source(tmp_path):
  return Source(tmp_path, lambda done, total: None)


def verdicts(claim, results):
  return [bool(check.holds) for check in claim.CLAIM.judge(results)]


def test_paths_of_three_blocks_by_hand(source):
  shares = path_lengths.measure(path_lengths.Cell(3), source)['shares']
  # Every path goes through the first block, half of them through the second, a third the third.
  np.testing.assert_allclose(shares[:5], [0, 1 / 3, 1 / 2, 1 / 6, 0], atol=1e-12)
  drawn = path_lengths.measure(path_lengths.Cell(3, sampled=4000), source)['shares']
  np.testing.assert_allclose(drawn[:5], [0, 1 / 3, 1 / 2, 1 / 6, 0], atol=0.04)
  assert path_lengths.measure(path_lengths.Cell(3, sampled=9), source)['sampled'] == 9


def test_long_paths_are_refused(source):
  exact = path_lengths.measure(path_lengths.Cell(10_000), source)
  good = {'exact_10000': exact, 'sampled_10000': exact | {'sampled': 1000}}
  assert verdicts(path_lengths, good) == [True] * 3
  longer = exact | {'shares': np.roll(exact['shares'], 3)}
  assert verdicts(path_lengths, good | {'exact_10000': longer}) == [False] * 3


def test_sizes_to_the_last_digit(source):
  printed = network_sizes.PRINTED | network_sizes.RELEASED
  results = {
    name: {
      'parameters': 1e6 * float(one.parameters),
      'macs': 1e9 * float(one.macs) * (1.05 if one.rounds_down else 1),
    }
    for name, one in printed.items()
  }
  assert all(verdicts(network_sizes, results))
  for key, step in (('parameters', 0.051e6), ('macs', 0.0051e9)):
    results['nfnet_f0'][key] += step
    assert verdicts(network_sizes, results)[0] is False
    results['nfnet_f0'][key] -= step
  found = network_sizes.measure(network_sizes.Cell('nfnet_f0'), source)
  assert found['parameters'] == 71_489_284


def test_independence():
  nothing = dict.fromkeys(batch_independence._QUESTIONS, 1e-7)
  mixed = dict.fromkeys(batch_independence._QUESTIONS, 0.3)
  good = {'nf': nothing, 'bn_net': mixed}
  assert verdicts(batch_independence, good) == [True] * 6
  assert verdicts(batch_independence, {'nf': mixed, 'bn_net': nothing}) == [False] * 6


@pytest.mark.slow
def test_independence_is_measured_on_images(digits):
  source = Source(digits, lambda done, total: None)
  for model, gain, least, most in (
    ('nf_wide_resnet_16_2', 1.0, 0, 1e-4),
    ('wide_resnet_16_2', None, 0.01, 10),
  ):
    cell = batch_independence.Cell(model, gain, 'digits', depths=(1, 1, 1), batch=3)
    found = batch_independence.measure(cell, source)
    assert list(found) == list(batch_independence._QUESTIONS)
    assert all(least <= value < most for value in found.values())
