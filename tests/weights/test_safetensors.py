import json
import re
import struct
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from nfnets.errors import InputError
from nfnets.weights import safetensors

DTYPES = ['f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u8', 'u4', 'u2', 'u1', '?']
TENSORS = {
  **{f'of {dtype}': np.arange(3).astype(dtype) for dtype in DTYPES},
  'of bf16': np.arange(5).astype(ml_dtypes.bfloat16),
  'scalar': np.array(0.5, np.float32),
  'empty': np.zeros((0, 4), np.float32),
  'matrix': np.arange(6, dtype=np.float32).reshape(2, 3),
}
METADATA = {'a': 'b', 'text': 'ä\n"'}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found[name], array)


def file_of(path: Path, header: object, data: bytes = b'') -> Path:
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(struct.pack('<Q', len(text)) + text + data)
  return path


def entry(dtype: object, shape: object, begin: object, end: object) -> dict[str, object]:
  return {'dtype': dtype, 'shape': shape, 'data_offsets': [begin, end]}


def test_what_is_written_comes_back(tmp_path: Path) -> None:
  safetensors.write(tmp_path / 'x', TENSORS, METADATA)
  tensors, metadata = safetensors.read(tmp_path / 'x')
  assert_same(tensors, TENSORS)
  assert metadata == METADATA == safetensors.read_metadata(tmp_path / 'x')


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
  safetensors.write(tmp_path / 'x', TENSORS, METADATA)
  assert_same(load_file(tmp_path / 'x'), TENSORS)
  with safe_open(tmp_path / 'x', framework='numpy') as file:
    assert file.metadata() == METADATA


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
  save_file(TENSORS, tmp_path / 'x', METADATA)
  tensors, metadata = safetensors.read(tmp_path / 'x')
  assert_same(tensors, TENSORS)
  assert metadata == METADATA


@pytest.mark.parametrize(
  'array',
  [
    np.arange(12, dtype=np.float32).reshape(3, 4).T,
    np.arange(12, dtype=np.float32)[::3],
    np.arange(3, dtype='>f4'),
  ],
)
def test_views_and_foreign_byte_orders_are_written_as_their_numbers(
  tmp_path: Path, array: np.ndarray
) -> None:
  safetensors.write(tmp_path / 'x', {'x': array}, {})
  np.testing.assert_array_equal(load_file(tmp_path / 'x')['x'], array)


def test_tensors_start_at_multiples_of_their_width(tmp_path: Path) -> None:
  safetensors.write(tmp_path / 'x', TENSORS, {})
  data = (tmp_path / 'x').read_bytes()
  (length,) = struct.unpack('<Q', data[:8])
  header = json.loads(data[8 : 8 + length])
  assert length % 8 == 0
  for name, array in TENSORS.items():
    assert header[name]['data_offsets'][0] % array.dtype.itemsize == 0


def test_reading_takes_little_more_memory_than_the_tensors(tmp_path: Path) -> None:
  size = 2**22
  tensors = {str(number): np.zeros(size // 4, np.float32) for number in range(8)}
  safetensors.write(tmp_path / 'x', tensors, {})
  tracemalloc.start()
  try:
    read = safetensors.read(tmp_path / 'x')
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert len(read[0]) == 8
  assert peak < 1.1 * 8 * size


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  path = tmp_path / 'x'
  safetensors.write(path, {'x': np.zeros(2)}, {})
  before = path.read_bytes()

  def full(_: int) -> None:
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr('os.fsync', full)
  with pytest.raises(InputError, match='x: cannot be written: No space left'):
    safetensors.write(path, {'x': np.ones(9)}, {})
  assert [*tmp_path.iterdir()] == [path]
  assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
  with pytest.raises(InputError, match='none/x: cannot be written: No such file'):
    safetensors.write(tmp_path / 'none' / 'x', {}, {})


@pytest.mark.parametrize('array', [np.array(['x']), np.array([None]), np.zeros(1, complex)])
def test_what_has_no_place_is_refused_before_writing(tmp_path: Path, array: np.ndarray) -> None:
  with pytest.raises(InputError, match=r"'x' of dtype .* has no place in safetensors"):
    safetensors.write(tmp_path / 'x', {'x': array}, {})
  assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
  ('header', 'data', 'message'),
  [
    (b'{', b'', 'its header is no JSON'),
    (b'\xff', b'', 'its header is no JSON'),
    (b'[' * 100_000, b'', 'its header is no JSON'),
    ([], b'', 'its header is no mapping'),
    ({'__metadata__': {'a': 1}}, b'', '__metadata__ is no mapping of texts'),
    ({'x': entry('F8_E4M3', [1], 0, 1)}, b'1', 'NumPy has no dtype F8_E4M3'),
    ({'x': 1}, b'', 'the entry of x in its header makes no sense'),
    ({'x': {'dtype': 'F32'}}, b'', 'the entry of x'),
    ({'x': entry('F32', [2], 0, 4)}, b'1234', 'the entry of x'),
    ({'x': entry('F32', [2**62], 0, 4)}, b'1234', 'the entry of x'),
    ({'x': entry('F32', [-1], 4, 0)}, b'1234', 'the entry of x'),
    ({'x': entry('F32', ['1'], 0, 4)}, b'1234', 'the entry of x'),
    ({'x': entry('F32', [1] * 40, 0, 4)}, b'1234', 'the entry of x'),
    ({'x': entry('U8', [2**40], 0, 2**40)}, b'1234', 'is cut short'),
    ({'x': entry('U8', [0, 2**62, 2**62], 0, 0)}, b'', 'the entry of x'),
    ({'x': entry('U8', [1], False, True)}, b'1', 'the entry of x'),
    (b'{"x":1,"x":1}', b'', 'its header has a name twice'),
    ('{}'.encode('utf-16-le'), b'', 'its header is no JSON'),
    ({'x': entry('U8', [2], 2, 4)}, b'1234', 'the bytes of x do not follow those before'),
    ({'x': entry('U8', [2], -2, 0)}, b'1234', 'the bytes of x do not follow those before'),
    ({n: entry('U8', [4], 0, 4) for n in 'xy'}, b'1234', 'the bytes of y do not follow'),
    ({'x': entry('U8', [2], 0, 2)}, b'1234', '2 bytes belong to no tensor'),
  ],
)
def test_a_damaged_file_gets_one_line(
  tmp_path: Path, header: object, data: bytes, message: str
) -> None:
  path = file_of(tmp_path / 'x', header, data)
  with pytest.raises(InputError, match=f'^{re.escape(str(path))}: .*{message}') as caught:
    safetensors.read(path)
  assert '\n' not in str(caught.value)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
  safetensors.write(tmp_path / 'x', {'x': np.ones(3), 'y': np.zeros(2, np.float32)}, METADATA)
  data = (tmp_path / 'x').read_bytes()
  for length in range(len(data)):
    (tmp_path / 'x').write_bytes(data[:length])
    with pytest.raises(InputError, match='x: is '):
      safetensors.read(tmp_path / 'x')


def test_a_gigantic_header_takes_no_memory(tmp_path: Path) -> None:
  for length in (2**62, 90_000_000):
    (tmp_path / 'x').write_bytes(struct.pack('<Q', length) + b'{}')
    with pytest.raises(InputError, match='x: is '):
      safetensors.read(tmp_path / 'x')
