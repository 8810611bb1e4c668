"""Weights of every kind, from one to the other and back."""

import pickle
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from scripts.processes import ask_script, assert_told

import nfnets
from nfnets.weights import own


@pytest.fixture(scope='module')
def deepmind(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A file as DeepMind writes them, of a small network."""
  path = tmp_path_factory.mktemp('weights') / 'T_haiku.npz'
  params, _ = nfnets.create_model('nfnet_tiny', 10).init(jax.random.key(0))
  path.write_bytes(pickle.dumps(jax.device_get(params), 3))
  return path


def test_there_and_back(deepmind: Path, tmp_path: Path):
  ours, timms, back = (tmp_path / name for name in ('o.safetensors', 't.safetensors', 'b'))
  done = ask_script('convert', deepmind, ours, '--model=nfnet_tiny')
  assert done.returncode == 0, done.stderr
  assert done.stdout == (
    f'nfnet_tiny, 984,767 parameters (converted from T_haiku.npz), written to {ours} in the '
    'format of nfnets\n'
  )
  header = own.read_header(ours)
  assert (header.model, header.options) == ('nfnet_tiny', {'num_classes': 10, 'in_channels': 3})
  assert ask_script('convert', ours, timms, '--to=timm').returncode == 0
  assert 'stages.0.0.conv1.weight' in load_file(timms)
  assert ask_script('convert', timms, back, '--model=nfnet_tiny').returncode == 0
  first, last = own.read(ours).params, own.read(back).params
  assert first.keys() == last.keys()
  for module, leaves in first.items():
    for name, leaf in leaves.items():
      np.testing.assert_array_equal(leaf, last[module][name], strict=True)


def test_a_network_must_be_named(deepmind: Path, tmp_path: Path):
  done = ask_script('convert', deepmind, tmp_path / 'x')
  assert_told(done, 2, 'T_haiku.npz does not say which network it is for')
  assert not list(tmp_path.iterdir())


def test_only_runs_have_raw_parameters(deepmind: Path, tmp_path: Path):
  done = ask_script('convert', deepmind, tmp_path / 'x', '--model=nfnet_tiny', '--raw')
  assert_told(done, 2, '(--raw)', 'T_haiku.npz', 'is no run')
  assert not list(tmp_path.iterdir())


def test_a_file_that_could_not_be_written_is_told_before_the_work(tmp_path: Path):
  done = ask_script('convert', 'no/such', tmp_path / 'no' / 'x')
  assert_told(done, 2, f'OUT={tmp_path}/no/x', 'is not a folder that can be written to')
