import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from nfnets.errors import InputError
from nfnets.weights import own
from nfnets.weights.own import Header

PARAMS = {
  'NFNet/~/stem_conv0': {
    'w': np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    'bias': np.zeros(2, np.float32),
  },
  'NFNet/~/nf_block': {'skip_gain': np.array(0.5, np.float32)},
  'NFNet/~/linear': {'w': np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)},
}
STATE = {
  'ResNet/~/bn/~/mean_ema': {
    'average': np.arange(4, dtype=np.float32),
    'counter': np.array(7, np.int32),
  }
}
HEADER = Header(
  'nfnet_f0',
  {'num_classes': 10, 'activation': 'silu'},
  'trained ä\non digits',
  {'size': 16, 'mean': [1.5, 2, 3]},
  ('zero', 'öne'),
)
FILE_METADATA = {'format': 'nfnets', 'format_version': '1', 'model': 'nfnet_f0', 'options': '{}'}


def assert_same(found: own.Params, expected: own.Params) -> None:
  assert {module: {*arrays} for module, arrays in found.items()} == {
    module: {*arrays} for module, arrays in expected.items()
  }
  for module, arrays in expected.items():
    for name, array in arrays.items():
      assert found[module][name].dtype == array.dtype
      np.testing.assert_array_equal(found[module][name], array, strict=True)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
  own.write(tmp_path / 'x', PARAMS, HEADER, STATE)
  contents = own.read(tmp_path / 'x')
  assert contents.header == HEADER == own.read_header(tmp_path / 'x')
  assert_same(contents.params, PARAMS)
  assert_same(contents.state, STATE)


def test_what_need_not_be_there_may_be_absent(tmp_path: Path) -> None:
  own.write(tmp_path / 'x', PARAMS, Header('nfnet_f0'))
  assert own.read(tmp_path / 'x')[1:] == ({}, Header('nfnet_f0', {}, '', None, None))


def test_keys_and_metadata_are_as_documented(tmp_path: Path) -> None:
  own.write(tmp_path / 'x', PARAMS, HEADER, STATE)
  with safe_open(tmp_path / 'x', framework='numpy') as file:
    assert set(file.keys()) == {
      'NFNet/~/stem_conv0:w',
      'NFNet/~/stem_conv0:bias',
      'NFNet/~/nf_block:skip_gain',
      'NFNet/~/linear:w',
      'state:ResNet/~/bn/~/mean_ema:average',
      'state:ResNet/~/bn/~/mean_ema:counter',
    }
    metadata = file.metadata()
  assert json.loads(metadata.pop('options')) == HEADER.options
  assert json.loads(metadata.pop('preprocessing')) == HEADER.preprocessing
  assert json.loads(metadata.pop('labels')) == list(HEADER.labels)
  assert metadata == {
    'format': 'nfnets',
    'format_version': '1',
    'model': 'nfnet_f0',
    'provenance': HEADER.provenance,
  }


def test_ours_are_told_from_others(tmp_path: Path) -> None:
  own.write(tmp_path / 'x', PARAMS, HEADER)
  save_file({'x': np.zeros(1)}, tmp_path / 'y', {'format': 'pt'})
  assert own.is_ours(tmp_path / 'x')
  assert not own.is_ours(tmp_path / 'y')


@pytest.mark.parametrize(
  ('params', 'header', 'message'),
  [
    ({'a:b': {'w': np.zeros(1)}}, HEADER, "'a:b' has a colon"),
    ({'a': {'w': np.zeros(1, np.int32)}}, HEADER, "'a' 'w' is of int32, not of floats"),
    ({}, Header('x', {'f': print}), 'options=.* cannot be written as JSON'),
    ({}, Header('x', {'f': float('nan')}), 'options=.* cannot be written as JSON'),
    ({}, Header('x', preprocessing={'f': print}), 'preprocessing=.* cannot be written as JSON'),
  ],
)
def test_what_has_no_place_is_refused_before_writing(
  tmp_path: Path, params: dict, header: Header, message: str
) -> None:
  with pytest.raises(InputError, match=message):
    own.write(tmp_path / 'x', params, header)
  assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
  ('metadata', 'message'),
  [
    (None, 'is no weights file of nfnets'),
    ({'format': 'pt'}, 'is no weights file of nfnets'),
    (FILE_METADATA | {'format_version': '2'}, 'has format_version=2: this nfnets reads version 1'),
    (FILE_METADATA | {'options': '{'}, 'the options in its header are no JSON'),
    (FILE_METADATA | {'options': '[' * 100_000}, 'the options in its header are no JSON'),
    (FILE_METADATA | {'options': '[]'}, 'has no model or no options'),
    (FILE_METADATA | {'options': '{"\\u001b": 1}'}, 'have names that are none'),
    (FILE_METADATA | {'model': 'x' * 2000}, 'no network is called xxx'),
    (FILE_METADATA | {'labels': '{}'}, 'the preprocessing or the labels in its header are none'),
    (FILE_METADATA | {'labels': '[1]'}, 'the preprocessing or the labels in its header are none'),
    (FILE_METADATA | {'preprocessing': '[]'}, 'the preprocessing or the labels in its header'),
    ({name: FILE_METADATA[name] for name in ('format', 'format_version')}, 'has no model'),
  ],
)
def test_a_file_that_is_none_of_ours_is_named(
  tmp_path: Path, metadata: dict[str, str] | None, message: str
) -> None:
  save_file({'m:w': np.zeros(1)}, tmp_path / 'x', metadata)
  for read in (own.read, own.read_header):
    with pytest.raises(InputError, match=f'x: .*{message}'):
      read(tmp_path / 'x')


@pytest.mark.parametrize(
  'tensors', [{'w': np.zeros(1)}, {'m:w': np.zeros(1, np.int32)}, {'a:b:c': np.zeros(1)}]
)
def test_a_tensor_that_is_no_parameter_is_named(tmp_path: Path, tensors: dict) -> None:
  save_file(tensors, tmp_path / 'x', FILE_METADATA)
  with pytest.raises(InputError, match=f'x: is damaged: {next(iter(tensors))} is no parameter'):
    own.read(tmp_path / 'x')
