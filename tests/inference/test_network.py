"""Networks by what people call their weights."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from runs import Finished

import nfnets
from nfnets.data.datasets import IMAGENET_MEAN
from nfnets.data.imagenet_labels import imagenet_labels
from nfnets.data.images import CropGeometry, EvalGeometry
from nfnets.errors import InputError
from nfnets.inference.evaluate import evaluate
from nfnets.inference.network import Network, from_run, open_network
from nfnets.inference.preprocessing import Preprocessing, from_json
from nfnets.weights import hub, own, timm

THOUSAND = nfnets.create_model('test_nfnet')


@pytest.fixture(scope='module')
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A file of timm's, as if it were downloaded."""
  path = tmp_path_factory.mktemp('released') / 'model.safetensors'
  timm.write(path, jax.device_get(THOUSAND.init(jax.random.key(0))[0]))
  return path


def assert_same(found: Network, expected: Network) -> None:
  """All but where they are from."""
  assert dataclasses.replace(found, params=None, state=None) == dataclasses.replace(
    expected, params=None, state=None
  )
  assert jax.tree.all(
    jax.tree.map(np.array_equal, (found.params, found.state), (expected.params, expected.state))
  )


def test_a_run_knows_all_about_its_network(finished: Finished):
  network = open_network(workdir=finished.workdir)
  assert network.model.name == 'nfnet_micro'
  assert network.labels == tuple('0123456789')
  assert network.geometry == EvalGeometry(size=16, margin=0)
  assert network.mean == pytest.approx([255 * 0.3058] * 3)
  assert network.provenance == 'averaged parameters after step 24 of a run on digits'
  raw = open_network(workdir=finished.workdir, averaged=False, size=24)
  assert raw.geometry == EvalGeometry(size=24, margin=0)
  assert raw.provenance.startswith('raw parameters after step 24')
  assert not np.array_equal(
    raw.params['NFNet/~/linear']['w'], network.params['NFNet/~/linear']['w']
  )


def test_a_run_whose_data_is_gone(finished: Finished, tmp_path: Path):
  """Its classes have no names then; all else is as it was."""
  network = from_run(finished.workdir, data_dir=str(tmp_path))
  assert network.labels is None
  assert_same(dataclasses.replace(network, labels=tuple('0123456789')), from_run(finished.workdir))


def test_what_is_saved_is_the_same_network(finished: Finished, tmp_path: Path):
  network = from_run(finished.workdir)
  network.save(tmp_path / 'x.safetensors')
  assert_same(open_network(weights=str(tmp_path / 'x.safetensors')), network)
  network.save(tmp_path / 'y.safetensors', 'timm')
  of_timms = open_network(weights=str(tmp_path / 'y.safetensors'), model='nfnet_micro')
  assert of_timms.model.num_classes == 10
  assert of_timms.labels is None
  assert of_timms.geometry == EvalGeometry(size=16)
  assert of_timms.provenance == 'converted from y.safetensors'


def test_saved_weights_are_evaluated_as_the_run(finished: Finished, tmp_path: Path):
  from_run(finished.workdir).save(tmp_path / 'x')
  result = evaluate(
    open_network(weights=str(tmp_path / 'x')),
    dataset='digits',
    data_dir=finished.config.data.data_dir,
    split=finished.config.data.eval_split,
    batch_size=finished.config.eval_batch_size,
  )
  assert result.scores == finished.outcome.scores
  assert json.dumps(result.to_json())


def test_what_was_released(released: Path, monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr(hub, 'fetch_timm', lambda name: released)
  network = open_network(weights='timm', model='test_nfnet')
  assert network.model == THOUSAND
  assert network.labels == imagenet_labels()
  assert network.mean == network.std == (127.5, 127.5, 127.5)  # unlike all others'
  assert network.geometry == CropGeometry(size=160, fraction=0.95, squash=False)
  assert network.provenance == 'model.safetensors, released by timm'
  with pytest.raises(InputError, match=r"weights='timm': which network\? .*model="):
    open_network(weights='timm')


def test_a_file_of_a_network_that_timm_alone_trained(released: Path):
  network = open_network(weights=str(released), model='test_nfnet', size=96)
  assert network.geometry == CropGeometry(size=96, fraction=0.95, squash=False)
  assert network.mean == (127.5, 127.5, 127.5)


def test_a_file_of_any_other(tmp_path: Path):
  model = nfnets.create_model('nfnet_tiny')
  timm.write(tmp_path / 'x', jax.device_get(model.init(jax.random.key(0))[0]))
  network = open_network(weights=str(tmp_path / 'x'), model='nfnet_tiny')
  assert network.preprocessing == Preprocessing(EvalGeometry(size=48))
  assert network.mean == IMAGENET_MEAN
  assert network.labels == imagenet_labels()


def test_what_a_file_says_moves_no_cursor(tmp_path: Path):
  model = nfnets.create_model('nfnet_tiny', 2)
  params = jax.device_get(model.init(jax.random.key(0))[0])
  header = own.Header(model.name, model.options, 'from\n\x1b[2Jme', None, ('a\rb', 'c\u202e'))
  own.write(tmp_path / 'x', params, header)
  network = open_network(weights=str(tmp_path / 'x'))
  assert (network.provenance, network.labels) == ('from [2Jme', ('a b', 'c'))


def test_labels_are_as_many_as_classes(tmp_path: Path):
  model = nfnets.create_model('nfnet_tiny', 2)
  params = jax.device_get(model.init(jax.random.key(0))[0])
  own.write(tmp_path / 'x', params, own.Header(model.name, model.options, labels=('a',)))
  with pytest.raises(InputError, match='the weights name 1 classes, and the network has 2'):
    open_network(weights=str(tmp_path / 'x'))


def test_what_cannot_be_opened(finished: Finished, released: Path):
  with pytest.raises(InputError, match='give either weights or the workdir'):
    open_network()
  with pytest.raises(InputError, match='give either weights or the workdir'):
    open_network(weights='x', workdir=finished.workdir)
  with pytest.raises(InputError, match=r"model='nfnet_f0': the run in .* knows its network"):
    open_network(workdir=finished.workdir, model='nfnet_f0')
  with pytest.raises(InputError, match='size=0 must be 1 or more'):
    open_network(weights=str(released), model='test_nfnet', size=0)


def test_a_network_for_other_classes_is_not_evaluated(released: Path, finished: Finished):
  with pytest.raises(InputError, match="dataset='digits' has 10 classes, and the network 1000"):
    evaluate(
      open_network(weights=str(released), model='test_nfnet'),
      dataset='digits',
      data_dir=finished.config.data.data_dir,
    )
  flowers = dataclasses.replace(from_run(finished.workdir), labels=tuple('abcdefghij'))
  with pytest.raises(
    InputError, match=r"'digits' calls class 0 '0', and the network .* 'a': it was"
  ):
    evaluate(flowers, dataset='digits', data_dir=finished.config.data.data_dir)


@pytest.mark.parametrize(
  'change',
  [
    {'geometry': 'other'},
    {'size': 'large'},
    {'mean': [1, 2]},
    {'std': [1, 0, 1]},
    {'mean': None},
    {'crop': 3},
  ],
)
def test_a_header_with_another_preprocessing_is_refused(tmp_path: Path, change: dict):
  for geometry in (CropGeometry(size=8, fraction=0.9, squash=True), EvalGeometry(size=8)):
    good = Preprocessing(geometry).to_json()
    assert from_json(good) == Preprocessing(geometry)
  params = jax.device_get(THOUSAND.init(jax.random.key(0))[0]) if change == {'crop': 3} else {}
  header = own.Header('test_nfnet', {}, '', good | change)
  with pytest.raises(InputError, match=r'preprocessing=.* cannot be used'):
    from_json(header.preprocessing or {})
  if params:
    own.write(tmp_path / 'x', params, header)
    with pytest.raises(InputError, match=r'preprocessing=.* cannot be used'):
      open_network(weights=str(tmp_path / 'x'))
