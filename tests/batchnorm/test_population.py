"""Population statistics against NumPy."""

import functools

import haiku as hk
import jax
import numpy as np
import pytest
from batchnorm.norm_networks import IMAGES, KINDS, assert_close, make, run

from nfnets import batchnorm
from nfnets.batchnorm import Form
from nfnets.errors import InputError

VECTORS = IMAGES[:, 0, 0]


def one_layer(x, is_training):
  return hk.BatchNorm(True, True, decay_rate=0.9, name='norm')(x, is_training)


ONE_LAYER = functools.cache(lambda: make(one_layer, VECTORS))


@functools.cache
def pass_of(apply):
  def forward(params, state, images):
    return apply(params, state, None, images, True)

  return forward


def precise(network, batches, form=Form.PRECISE):
  state = batchnorm.precise_statistics(
    pass_of(network.apply), network.params, network.state, batches, form=form
  )
  return state, batchnorm.read_averages(state)


@pytest.mark.parametrize('cuts', [[], [6], [4, 8], [5, 7], [1, 2]], ids=str)
@pytest.mark.parametrize(('form', 'ddof'), [(Form.PRECISE, 1), (Form.BIASED, 0)])
def test_one_layer_is_exact_however_the_examples_are_cut(cuts, form, ddof):
  network = ONE_LAYER()
  _, averages = precise(network, np.split(VECTORS, cuts), form)
  mean, variance = averages['norm']
  np.testing.assert_allclose(mean.ravel(), VECTORS.mean(0), rtol=1e-5)
  np.testing.assert_allclose(variance.ravel(), VECTORS.var(0, ddof=ddof), rtol=1e-5)


def test_evaluation_normalizes_by_them():
  network = ONE_LAYER()
  state, _ = precise(network, np.split(VECTORS, [5, 7]), Form.BIASED)
  found, _ = run(network.apply, network._replace(state=state), VECTORS, False)
  wanted, _ = run(network.apply, network, VECTORS)
  assert_close(found, wanted)


def test_the_form_of_ioffe_and_szegedy():
  network = ONE_LAYER()
  _, averages = precise(network, np.split(VECTORS, [5]), Form.INCEPTION)
  wanted = (5 * VECTORS[:5].var(0, ddof=1) + 7 * VECTORS[5:].var(0, ddof=1)) / 12
  np.testing.assert_allclose(averages['norm'].variance.ravel(), wanted, rtol=1e-5)
  np.testing.assert_allclose(averages['norm'].mean.ravel(), VECTORS.mean(0), rtol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
def test_all_layers_are_fed_by_batch_statistics(kind):
  """The second layer's, from one pass: by hand from the statistics of each batch."""
  network = KINDS[kind]()
  batches = np.split(IMAGES, [4])
  _, averages = precise(network, batches, Form.BIASED)
  last = batchnorm.with_decay(network.apply, 0)
  seen = [batchnorm.read_averages(run(last, network, x)[1])['second'] for x in batches]
  mean = (4 * seen[0].mean + 8 * seen[1].mean) / 12
  squares = [moments.mean**2 + moments.variance for moments in seen]
  variance = (4 * squares[0] + 8 * squares[1]) / 12 - mean**2
  assert_close(averages['second'], batchnorm.Moments(mean, variance))


def test_what_is_no_average_stays_and_training_goes_on():
  network = KINDS['ours']()
  state, _ = precise(network, [IMAGES])
  for path, leaves in state.items():
    for name, leaf in leaves.items():
      same = np.array_equal(leaf, network.state[path][name])
      assert same == (name != 'average')
  found = run(network.apply, network._replace(state=state), IMAGES)
  assert_close(found, run(network.apply, network, IMAGES))


def test_on_devices_all_arrive_at_the_statistics_of_one():
  network = KINDS['haiku']()
  forward = pass_of(network.apply)

  def sums(images):
    one = batchnorm.sum_statistics(forward, network.params, network.state, images)
    return jax.lax.psum(one, 'devices')

  mapped = jax.pmap(sums, axis_name='devices', devices=jax.devices()[:2])
  found = batchnorm.averages_of(jax.tree.map(lambda x: x[1], mapped(IMAGES.reshape(2, 6, 4, 4, 3))))
  _, wanted = precise(network, np.split(IMAGES, 2))
  assert_close(found, wanted)


def test_moving_averages_taken_afterwards():
  network = ONE_LAYER()
  batches = np.split(VECTORS, 3)
  state = batchnorm.ema_statistics(
    pass_of(network.apply), network.params, network.state, batches, decay=0.5
  )
  means = [batch.mean(0) for batch in batches]
  wanted = (means[0] / 8 + means[1] / 4 + means[2] / 2) / (7 / 8)
  np.testing.assert_allclose(batchnorm.read_averages(state)['norm'].mean.ravel(), wanted, rtol=1e-5)


def test_a_moving_average_by_hand():
  network = ONE_LAYER()
  _, batch_state = run(batchnorm.with_decay(network.apply, 0), network, VECTORS)
  mixed = batchnorm.mix_averages(network.state, batch_state, 0.75)
  old, new = (batchnorm.read_averages(state)['norm'] for state in (network.state, mixed))
  wanted = 0.75 * old.variance.ravel() + 0.25 * VECTORS.var(0)
  np.testing.assert_allclose(new.variance.ravel(), wanted, rtol=1e-5)


@pytest.mark.parametrize(
  ('batches', 'form', 'message'),
  [
    ([], Form.PRECISE, 'batches is empty'),
    ([VECTORS[:1]], Form.PRECISE, 'form=PRECISE: 1 example'),
    ([VECTORS, VECTORS[:1]], Form.INCEPTION, 'form=INCEPTION: a batch of 1 example'),
  ],
)
def test_too_few_examples(batches, form, message):
  with pytest.raises(InputError, match=message):
    precise(ONE_LAYER(), batches, form)


def test_a_network_without_batch_normalization():
  network = hk.transform_with_state(lambda x, t: hk.Linear(2)(x))
  params, state = network.init(jax.random.key(0), VECTORS, True)
  with pytest.raises(InputError, match=r'^state of 0 modules: there is no batch normalization'):
    batchnorm.precise_statistics(
      lambda p, s, x: network.apply(p, s, None, x, True), params, state, [VECTORS]
    )
