"""Statistics, scales and offsets of each domain its own."""

import functools

import jax
import numpy as np
import pytest
from batchnorm.norm_networks import IMAGES, KINDS, assert_close, descend, run

from nfnets.batchnorm import Domains, read_averages
from nfnets.errors import InputError

SHARINGS = [(False, False), (True, False), (False, True), (True, True)]


@pytest.fixture(params=KINDS)
def network(request):
  return KINDS[request.param]()


@pytest.mark.parametrize(('statistics', 'affine'), SHARINGS)
def test_all_begin_as_the_shared_network(network, statistics, affine):
  domains = Domains(count=3, statistics=statistics, affine=affine)
  params, state = domains.split(network.params, network.state)
  assert np.shape(params['first']['scale'])[0] == (3 if affine else 1)
  assert np.shape(state['first/~/mean_ema']['counter']) == ((3,) if statistics else ())
  split = network._replace(params=params, state=state)
  wanted, _ = run(network.apply, network, IMAGES, False)
  for domain in range(3):
    apply = functools.partial(domains.select(network.apply), domain)
    assert_close(run(apply, split, IMAGES, False)[0], wanted)


@pytest.mark.parametrize(('statistics', 'affine'), SHARINGS)
def test_a_batch_moves_its_domain_and_what_is_shared(network, statistics, affine):
  domains = Domains(count=2, statistics=statistics, affine=affine)
  params, state = domains.split(network.params, network.state)
  apply = functools.partial(domains.select(network.apply), 1)
  split = network._replace(params=params, state=state)
  (_, (new, _)), gradients = descend(apply, split, IMAGES)
  (_, (wanted, _)), alone = descend(network.apply, network, IMAGES)
  assert_close(domains.of(1, params, new)[1], wanted)
  first = domains.of(0, params, new)[1]
  assert_close(first, network.state if statistics else wanted)
  assert_close(domains.of(1, gradients, state)[0], alone)
  scale = domains.of(0, gradients, state)[0]['first']['scale']
  assert (np.abs(scale).max() == 0) == affine


def test_the_number_of_a_domain_may_be_traced(network):
  domains = Domains(count=2)
  params, state = domains.split(network.params, network.state)
  apply = domains.select(network.apply)
  train = jax.jit(lambda domain: apply(domain, params, state, None, IMAGES, True))
  split = network._replace(params=params, state=state)
  assert_close(train(1), run(functools.partial(apply, 1), split, IMAGES))
  first, second = (read_averages(train(i)[1])['first'].mean for i in range(2))
  assert not np.array_equal(first, second)


def test_one_domains_state_from_elsewhere(network):
  domains = Domains(count=2)
  params, state = domains.split(network.params, network.state)
  _, new = run(network.apply, network, IMAGES)
  put = domains.put(0, state, new)
  assert_close(domains.of(0, params, put)[1], new, rtol=0, atol=0)
  assert_close(domains.of(1, params, put)[1], network.state, rtol=0, atol=0)


def test_a_count_that_is_none():
  with pytest.raises(InputError, match=r'^count=0'):
    Domains(count=0)
