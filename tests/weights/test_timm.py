import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from weights.test_torch_files import WAYS, Stored, tensor
from weights.timm_trees import load

from nfnets.errors import InputError
from nfnets.weights.timm import read, read_tensors, write
from nfnets.weights.timm_names import from_timm

SHAPES = load()['test_nfnet'].shapes


def random_tensors() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  return {
    name: rng.standard_normal(shape).astype(np.float32).reshape(shape)
    for name, shape in SHAPES.items()
  }


def saved_by_torch(path: Path, way: str, tensors: dict[str, np.ndarray]) -> Path:
  content = {
    name: tensor(
      Stored('FloatStorage', name, array.size),
      0,
      array.shape,
      tuple(stride // 4 for stride in array.strides),
    )
    for name, array in tensors.items()
  }
  return WAYS[way](path, content, tensors)


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize('way', WAYS)
def test_what_torch_saved_is_read(tmp_path: Path, way: str) -> None:
  tensors = random_tensors()
  assert_same(read_tensors(saved_by_torch(tmp_path / 'x.pth', way, tensors)), tensors)


def test_safetensors_are_read_whatever_the_name_of_the_file(tmp_path: Path) -> None:
  tensors = random_tensors()
  save_file(tensors, tmp_path / 'x.bin', {'format': 'pt'})
  assert_same(read_tensors(tmp_path / 'x.bin'), tensors)


def test_parameters_have_our_names_and_layouts(tmp_path: Path) -> None:
  tensors = random_tensors()
  save_file(tensors, tmp_path / 'x')
  params = read(tmp_path / 'x', 'NFNet')
  expected = from_timm(tensors, 'NFNet')
  assert params.keys() == expected.keys()
  for module, arrays in expected.items():
    assert_same(params[module], arrays)


def test_what_is_written_is_what_timm_had_bit_for_bit(tmp_path: Path) -> None:
  tensors = random_tensors()
  save_file(tensors, tmp_path / 'x')
  write(tmp_path / 'y', read(tmp_path / 'x', 'NFNet'))
  assert_same(load_file(tmp_path / 'y'), tensors)
  with safe_open(tmp_path / 'y', framework='numpy') as file:
    assert file.metadata() == {'format': 'pt'}


@pytest.mark.parametrize('data', [b'x', b'<html><body>', b'\x93NUMPY', b'12345678[]'])
def test_another_file_is_named(tmp_path: Path, data: bytes) -> None:
  (tmp_path / 'x').write_bytes(data)
  with pytest.raises(InputError, match='x: is neither a safetensors file nor one that torch saved'):
    read(tmp_path / 'x', 'NFNet')


def test_an_empty_file_and_none_are_named(tmp_path: Path) -> None:
  (tmp_path / 'x').write_bytes(b'')
  with pytest.raises(InputError, match='x: is empty'):
    read(tmp_path / 'x', 'NFNet')
  with pytest.raises(InputError, match='none: cannot be read'):
    read(tmp_path / 'none', 'NFNet')


def test_tensors_of_another_network_are_named_with_the_file(tmp_path: Path) -> None:
  path = tmp_path / 'x'
  save_file({'layer1.0.conv1.weight': np.zeros(1)}, path)
  with pytest.raises(InputError, match=f'^{re.escape(str(path))}: tensors: .layer1.0.conv1.weight'):
    read(path, 'NFNet')
