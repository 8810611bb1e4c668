import collections
import io
import pickle
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from nfnets.errors import InputError
from nfnets.weights.torch_files import read

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
  'DoubleStorage': np.float64,
  'FloatStorage': np.float32,
  'HalfStorage': np.float16,
  'BFloat16Storage': ml_dtypes.bfloat16,
  'LongStorage': np.int64,
  'IntStorage': np.int32,
  'ShortStorage': np.int16,
  'CharStorage': np.int8,
  'ByteStorage': np.uint8,
  'BoolStorage': np.bool_,
}


class Written:
  """Pickled as a call."""

  def __init__(self, *reduced: object):
    self.reduced = reduced

  def __reduce__(self) -> tuple:
    return self.reduced


class Stored:
  """Pickled as a persistent id."""

  def __init__(self, kind: str, key: str, length: int, *view: object):
    self.identity = ('storage', Named(f'torch.{kind}'), key, 'cpu', length, *view)


class Named:
  """Pickled as a dotted name."""

  def __init__(self, name: str):
    self.name = name


class Pickler(pickle._Pickler):
  """Writes names of modules that need not exist, as torch would."""

  def persistent_id(self, value: object) -> object:
    return value.identity if isinstance(value, Stored) else None

  def save_named(self, value: Named) -> None:
    module, _, name = value.name.rpartition('.')
    self.write(pickle.GLOBAL + f'{module}\n{name}\n'.encode())

  def save_written(self, value: Written) -> None:
    self.save_reduce(*value.reduced)

  def save_reduce(self, function: object, arguments: tuple, *rest: object, **named: object) -> None:
    if isinstance(function, Named):
      self.save(function)
      self.save(arguments)
      self.write(pickle.REDUCE)
    else:
      super().save_reduce(function, arguments, *rest, **named)

  dispatch = pickle._Pickler.dispatch | {Named: save_named, Written: save_written}


def pickled(value: object) -> bytes:
  file = io.BytesIO()
  Pickler(file, 2).dump(value)
  return file.getvalue()


def tensor(
  storage: Stored, offset: object = 0, sizes: object = (), strides: object = ()
) -> Written:
  arguments = (storage, offset, sizes, strides, False, collections.OrderedDict())
  return Written(Named('torch._utils._rebuild_tensor_v2'), arguments)


def parameter(of: Written) -> Written:
  arguments = (of, True, collections.OrderedDict())
  return Written(Named('torch._utils._rebuild_parameter'), arguments)


Storages = Mapping[str, np.ndarray]


def archive(path: Path, content: object, storages: Storages, compression: int = 0) -> Path:
  with zipfile.ZipFile(path, 'w', compression) as file:
    file.writestr('model/data.pkl', pickled(content))
    file.writestr('model/byteorder', 'little')
    for key, data in storages.items():
      file.writestr(f'model/data/{key}', data.tobytes())
  return path


def in_a_row(path: Path, content: object, storages: Storages, little: bool = True) -> Path:
  system = {'protocol_version': 1001, 'little_endian': little, 'type_sizes': {'int': 4}}
  parts = [pickled(part) for part in (MAGIC, 1001, system, content, [*storages])]
  data = [struct.pack('<q', data.size) + data.tobytes() for data in storages.values()]
  path.write_bytes(b''.join([*parts, *data]))
  return path


WAYS = {'zip': archive, 'row': in_a_row}


@pytest.fixture(params=WAYS)
def write(request: pytest.FixtureRequest) -> Callable[..., Path]:
  return WAYS[request.param]


NUMBERS = np.arange(24, dtype=np.float32)


def one(**how: object) -> dict[str, Written]:
  return {'x': tensor(Stored('FloatStorage', '0', 24), **how)}


@pytest.mark.parametrize('kind', STORAGES)
def test_every_storage_comes_back(tmp_path: Path, write: Callable, kind: str) -> None:
  data = np.arange(6).astype(STORAGES[kind])
  content = {'x': tensor(Stored(kind, 'k', 6), 0, (2, 3), (3, 1))}
  (array,) = read(write(tmp_path / 'x.pth', content, {'k': data})).values()
  assert array.dtype == data.dtype
  np.testing.assert_array_equal(array, data.reshape(2, 3))


@pytest.mark.parametrize(
  ('offset', 'sizes', 'strides', 'expected'),
  [
    (0, (24,), (1,), NUMBERS),
    (0, (2, 3, 4), (12, 4, 1), NUMBERS.reshape(2, 3, 4)),
    (12, (3, 4), (4, 1), NUMBERS.reshape(2, 3, 4)[1]),
    (0, (4, 6), (1, 4), NUMBERS.reshape(6, 4).T),
    (1, (3,), (8,), NUMBERS[1::8]),
    (5, (), (), NUMBERS[5]),
    (0, (3,), (0,), NUMBERS[[0, 0, 0]]),
    (24, (0,), (1,), NUMBERS[:0]),
    (9999, (2, 0), (50, 1), NUMBERS[:0].reshape(2, 0)),
  ],
)
def test_offsets_and_strides_are_honoured(
  tmp_path: Path, write: Callable, offset: int, sizes: tuple, strides: tuple, expected: np.ndarray
) -> None:
  content = one(offset=offset, sizes=sizes, strides=strides)
  (array,) = read(write(tmp_path / 'x.pth', content, {'0': NUMBERS})).values()
  assert array.shape == np.shape(expected)
  np.testing.assert_array_equal(array, expected)


def test_state_dicts_with_metadata_and_parameters_come_back(
  tmp_path: Path, write: Callable
) -> None:
  shared = Stored('FloatStorage', '0', 24)
  content = collections.OrderedDict(
    b=parameter(tensor(shared, 0, (2,), (1,))), a=tensor(shared, 2, (3,), (1,))
  )
  content._metadata = collections.OrderedDict({'': {'version': 1}})
  tensors = read(write(tmp_path / 'x.pth', content, {'0': NUMBERS}))
  assert [*tensors] == ['b', 'a']
  np.testing.assert_array_equal(tensors['b'], [0, 1])
  np.testing.assert_array_equal(tensors['a'], [2, 3, 4])


@pytest.mark.parametrize('name', ['state_dict', 'model', 'model_ema', 'state_dict_ema'])
def test_a_state_dict_inside_a_checkpoint_is_found(
  tmp_path: Path, write: Callable, name: str
) -> None:
  of = {'module.x': tensor(Stored('FloatStorage', '0', 24), 3)}
  other = {'module.x': tensor(Stored('LongStorage', '1', 2), 0)}
  content = {'epoch': 3, 'metric': np.float64(1.5), name: of, 'optimizer': {'state': {0: other}}}
  storages = {'1': np.arange(2), '0': NUMBERS}
  assert read(write(tmp_path / 'x.pth', content, storages)) == {'x': 3.0}


def test_averaged_weights_are_preferred(tmp_path: Path, write: Callable) -> None:
  content = {'state_dict': one(offset=1), 'state_dict_ema': one(offset=2)}
  assert read(write(tmp_path / 'x.pth', content, {'0': NUMBERS})) == {'x': 2.0}


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (one(offset=24), 'larger than its storage'),
    (one(sizes=(25,), strides=(1,)), 'larger than its storage'),
    (one(sizes=(2, 2), strides=(23, 1)), 'larger than its storage'),
    (one(sizes=(2**39, 2**39), strides=(0, 0)), 'no proper sizes or strides'),
    (one(sizes=(25,), strides=(0,)), 'larger than its storage'),
    (one(offset=-1), 'no proper offset'),
    (one(offset=1.5), 'no proper offset'),
    (one(sizes=(-1,), strides=(1,)), 'no proper sizes or strides'),
    (one(sizes=(2,), strides=(-1,)), 'no proper sizes or strides'),
    (one(sizes=[2], strides=(1,)), 'no proper sizes or strides'),
    (one(sizes=(1,) * 40, strides=(1,) * 40), 'no proper sizes or strides'),
    (one(sizes=(2,), strides=()), 'makes no sense'),
    (one(sizes=(0, 2**39, 2**39), strides=(1, 1, 1)), 'no proper sizes or strides'),
    ({'x': tensor(Stored('FloatStorage', '0', True))}, 'not described as torch does'),
    ({'x': tensor(Stored('FloatStorage', 'k' * 2000, 24))}, 'not described as torch does'),
    ({'x': tensor(Stored('FloatStorage', '0', 2**2000))}, 'not described as torch does'),
    ({'x': Written(Named('torch._utils._rebuild_tensor_v2'), (1, 0, (), ()))}, 'has no storage'),
    ({'x': tensor(Stored('FloatStorage', '0', -1))}, 'not described as torch does'),
    ({'x': tensor(Stored('FloatStorage', '0', 1, ('0', 0, 1)))}, 'not described as torch does'),
    ({'x': tensor(Stored('QInt8Storage', '0', 1))}, 'refuses to load torch.QInt8Storage'),
    ({'x': Named('torch.device')}, 'refuses to load torch.device'),
    ({'x': Written(Named('os.system'), ('touch ran',))}, 'refuses to load os.system'),
    ({'x': Written(Named('torch.FloatStorage'), (1,))}, 'refuses to call torch.FloatStorage'),
    ({'x': Written(Named('torch.load'), ('x',))}, 'refuses to load torch.load'),
    ({'x': 1}, 'holds no state dict: x is a int, not a tensor'),
    ({1: 1}, 'holds no state dict: a int is a int'),
    ({}, 'holds no state dict'),
    ([], 'holds no state dict'),
    ({'x\ny': [1]}, r'x\\ny is a list, not a tensor'),
  ],
)
def test_what_is_no_state_dict_gets_one_line(
  tmp_path: Path, write: Callable, content: object, message: str
) -> None:
  path = write(tmp_path / 'x.pth', content, {'0': NUMBERS})
  with pytest.raises(InputError, match=f'^{re.escape(str(path))}: .*{message}') as caught:
    read(path)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('members', [{}, {'a.txt': b''}, {'a/data.pkl': b'', 'b/data.pkl': b''}])
def test_another_zip_archive_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
  with zipfile.ZipFile(tmp_path / 'x.pth', 'w') as file:
    for name, data in members.items():
      file.writestr(name, data)
  with pytest.raises(InputError, match=r'x\.pth: is a zip archive, but not one of torch'):
    read(tmp_path / 'x.pth')


def test_a_storage_that_is_not_there_is_named(tmp_path: Path) -> None:
  with pytest.raises(InputError, match=r'x\.pth: is damaged: it has no model/data/0'):
    read(archive(tmp_path / 'x.pth', one(), {}))


def test_a_storage_that_is_too_short_is_refused(tmp_path: Path, write: Callable) -> None:
  with pytest.raises(InputError, match=r'x\.pth: is (cut short|damaged: a storage has 23)'):
    read(write(tmp_path / 'x.pth', one(), {'0': NUMBERS[:-1]}))


def test_a_storage_that_is_not_listed_is_refused(tmp_path: Path) -> None:
  with pytest.raises(InputError, match=r'x\.pth: is damaged: it does not list its storages'):
    read(in_a_row(tmp_path / 'x.pth', one(), {}))


def test_a_compressed_archive_is_refused_before_it_unfolds(tmp_path: Path) -> None:
  bomb = {'0': np.zeros(2**22, np.float32)}
  content = {'x': tensor(Stored('FloatStorage', '0', 2**22))}
  path = archive(tmp_path / 'x.pth', content, bomb, zipfile.ZIP_DEFLATED)
  tracemalloc.start()
  try:
    with pytest.raises(InputError, match=r'x\.pth: refuses .* compressed'):
      read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
  finally:
    tracemalloc.stop()


def test_numbers_of_a_big_endian_machine_are_refused(tmp_path: Path) -> None:
  path = in_a_row(tmp_path / 'x.pth', one(), {'0': NUMBERS}, little=False)
  with pytest.raises(InputError, match=r'x\.pth: was written on a big-endian machine'):
    read(path)
  with zipfile.ZipFile(tmp_path / 'y.pth', 'w') as file:
    file.writestr('model/data.pkl', pickled(one()))
    file.writestr('model/byteorder', 'big')
  with pytest.raises(InputError, match=r'y\.pth: was written on a big-endian machine'):
    read(tmp_path / 'y.pth')


def test_another_pickle_is_refused(tmp_path: Path) -> None:
  (tmp_path / 'x.pth').write_bytes(pickle.dumps({'x': 1}, 2) * 2)
  with pytest.raises(InputError, match=r'x\.pth: is a pickle, but not one of torch'):
    read(tmp_path / 'x.pth')


def test_every_truncation_is_refused(tmp_path: Path, write: Callable) -> None:
  data = write(tmp_path / 'x.pth', one(sizes=(24,), strides=(1,)), {'0': NUMBERS}).read_bytes()
  for length in range(0, len(data), 3):
    (tmp_path / 'x.pth').write_bytes(data[:length])
    with pytest.raises(InputError, match=r'x\.pth: '):
      read(tmp_path / 'x.pth')


def test_damage_is_read_or_refused(tmp_path: Path, write: Callable) -> None:
  data = write(tmp_path / 'x.pth', one(sizes=(24,), strides=(1,)), {'0': NUMBERS}).read_bytes()
  rng = np.random.default_rng(0)
  messages = []
  for _ in range(500):
    damaged = bytearray(data)
    damaged[rng.integers(len(data))] = rng.integers(256)
    (tmp_path / 'x.pth').write_bytes(damaged)
    try:
      assert all(isinstance(array, np.ndarray) for array in read(tmp_path / 'x.pth').values())
    except InputError as error:
      messages.append(str(error))
  assert len(messages) > 100
  assert not any('\n' in message for message in messages)
