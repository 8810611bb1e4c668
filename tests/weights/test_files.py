"""Files of every kind, told apart by what is in them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from weights.test_timm import random_tensors, saved_by_torch
from weights.test_torch_files import WAYS

from nfnets.errors import InputError
from nfnets.weights import files, own, timm

PARAMS = {'NFNet/~/linear': {'w': np.ones((4, 2), np.float32), 'b': np.arange(2, dtype=np.float32)}}


def test_ours(tmp_path: Path) -> None:
  header = own.Header('nfnet_f0', {'num_classes': 2})
  state = {'m': {'counter': np.array(3, np.int32)}}
  own.write(tmp_path / 'x.npz', PARAMS, header, state)  # whatever its name
  assert files.kind_of(tmp_path / 'x.npz') == 'nfnets'
  read = files.read(tmp_path / 'x.npz', 'NFNet')
  assert read.header == header
  assert read.state['m']['counter'] == 3
  np.testing.assert_array_equal(read.params['NFNet/~/linear']['w'], np.ones((4, 2)))


@pytest.mark.parametrize('way', ['safetensors', *WAYS])
def test_timms(tmp_path: Path, way: str) -> None:
  path, tensors = tmp_path / 'x', random_tensors()
  if way == 'safetensors':
    save_file(tensors, path, {'format': 'pt'})
  else:
    saved_by_torch(path, way, tensors)
  assert files.kind_of(path) == 'timm'
  read = files.read(path, 'NFNet')
  assert (read.state, read.header) == ({}, None)
  expected = timm.read(path, 'NFNet')
  assert read.params.keys() == expected.keys()
  np.testing.assert_array_equal(
    read.params['NFNet/~/stem_conv0']['w'], expected['NFNet/~/stem_conv0']['w']
  )


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_deepminds(tmp_path: Path, protocol: int) -> None:
  (tmp_path / 'x').write_bytes(pickle.dumps(PARAMS, protocol))
  assert files.kind_of(tmp_path / 'x') == 'deepmind'
  read = files.read(tmp_path / 'x', 'NFNet')
  assert (read.state, read.header) == ({}, None)
  np.testing.assert_array_equal(read.params['NFNet/~/linear']['b'], [0, 1])


@pytest.mark.parametrize('content', [b'<html>not found</html>', b'\x89PNG\r\n\x1a\n' + bytes(50)])
def test_others_are_refused(tmp_path: Path, content: bytes) -> None:
  (tmp_path / 'x').write_bytes(content)
  with pytest.raises(InputError, match='x: is no weights file: neither safetensors nor what torch'):
    files.kind_of(tmp_path / 'x')
