import itertools
import json
import pickle
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import dill
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from haiku._src import data_structures as structures

from nfnets.errors import InputError
from nfnets.weights.deepmind import RELEASED, read

GOLDEN = json.loads(
  (Path(__file__).parents[1] / 'golden' / 'param_trees.json').read_text(encoding='utf-8')
)
PROTOCOLS = range(2, 6)
TREE = {
  'NFNet/~/stem_conv0': {
    'w': np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    'gain': np.ones(2, np.float32),
    'bias': np.zeros(2, np.float32),
  },
  'NFNet/~/nf_block': {'skip_gain': np.array(0.5, np.float32)},
}


def dump(path: Path, value: object, protocol: int = 4) -> Path:
  path.write_bytes(pickle.dumps(value, protocol))
  return path


def one(path: Path, leaf: object, protocol: int) -> np.ndarray:
  """The leaf as it comes back."""
  return read(dump(path, {'m': {'w': leaf}}, protocol))['m']['w']


def assert_same(array: np.ndarray, expected: object) -> None:
  expected = np.asarray(expected)
  assert type(array) is np.ndarray
  assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
  np.testing.assert_array_equal(array, expected)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable]:
  """Makes a function of a dotted name that pickle can refer to."""

  def make(name: str) -> Callable:
    module, name = name.rsplit('.', 1)

    def function(*_: object) -> None:
      raise AssertionError('reading called it')

    function.__module__, function.__qualname__, function.__name__ = module, name, name
    new = ModuleType(module)
    setattr(new, name, function)
    for parent in itertools.accumulate(module.split('.'), '{}.{}'.format):
      if parent not in sys.modules:
        monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    monkeypatch.setitem(sys.modules, module, new)
    return function

  return make


class Written:
  """Pickled as what its `reduced` says."""

  def __init__(self, *reduced: object):
    self.reduced = reduced

  def __reduce__(self) -> tuple:
    return self.reduced


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('mapping', [dict, OrderedDict])
def test_plain_pickles_come_back(tmp_path: Path, mapping: type, protocol: int) -> None:
  tree = mapping((module, mapping(arrays)) for module, arrays in TREE.items())
  params = read(dump(tmp_path / 'F0.npz', tree, protocol))
  assert [*params] == [*TREE]
  for module, arrays in TREE.items():
    assert [*params[module]] == [*arrays]
    for name, array in arrays.items():
      assert_same(params[module][name], array)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_mappings_of_haiku_come_back(tmp_path: Path, protocol: int) -> None:
  inner = {module: structures.FlatMap(arrays) for module, arrays in TREE.items()}
  data = pickle.dumps(structures.FlatMap(inner), protocol)
  assert b'FlatMapping' in data
  (tmp_path / 'F0.npz').write_bytes(data)
  params = read(tmp_path / 'F0.npz')
  assert {module: [*arrays] for module, arrays in params.items()} == {
    module: [*arrays] for module, arrays in TREE.items()
  }
  assert_same(params['NFNet/~/nf_block']['skip_gain'], np.float32(0.5))


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('name', ['FlatMapping', 'FlatMap', 'frozendict'])
def test_old_mappings_of_haiku_come_back(
  tmp_path: Path, stand_in: Callable, name: str, protocol: int
) -> None:
  mapping = stand_in(f'haiku._src.data_structures.{name}')
  inner = {module: Written(mapping, (dict(arrays),)) for module, arrays in TREE.items()}
  params = read(dump(tmp_path / 'F0.npz', Written(mapping, (inner,)), protocol))
  assert_same(params['NFNet/~/stem_conv0']['w'], TREE['NFNet/~/stem_conv0']['w'])


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize(
  'array',
  [
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2],
    np.arange(3, dtype='>f4'),
    np.zeros((0, 3), np.float32),
    np.zeros(0, np.float32),
    np.array(3.0, np.float64),
    np.arange(4, dtype=np.float16),
    np.arange(4).astype(ml_dtypes.bfloat16),
    np.float32(1.5),
    ml_dtypes.bfloat16(1.5),
  ],
  ids=['fortran', 'strided', 'big endian', 'empty', 'none', 'scalar', 'f2', 'bf16', 'f4', 'bf'],
)
def test_arrays_of_numpy_come_back(tmp_path: Path, array: object, protocol: int) -> None:
  assert_same(one(tmp_path / 'F0.npz', array, protocol), array)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16, jnp.float16])
def test_arrays_of_jax_come_back(tmp_path: Path, dtype: type, protocol: int) -> None:
  array = jnp.arange(6, dtype=dtype).reshape(2, 3)
  assert isinstance(array, jax.Array)
  assert_same(one(tmp_path / 'F0.npz', array, protocol), array)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize(
  'name',
  [
    'jax._src.device_array.reconstruct_device_array',
    'jax.interpreters.xla.reconstruct_device_array',
  ],
)
def test_arrays_of_old_jax_come_back(
  tmp_path: Path, stand_in: Callable, name: str, protocol: int
) -> None:
  array = np.arange(6, dtype=np.float32).reshape(2, 3)
  state = {'weak_type': False, 'named_shape': {}}
  written = Written(stand_in(name), (*array.__reduce__(), state))
  assert_same(one(tmp_path / 'F0.npz', written, protocol), array)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('module', ['dill._dill', 'dill.dill'])
def test_arrays_that_dill_wraps_come_back(
  tmp_path: Path, stand_in: Callable, module: str, protocol: int
) -> None:
  array = np.arange(6, dtype=np.float32).reshape(2, 3)
  written = Written(stand_in(f'{module}._create_array'), (*array.__reduce__(), None))
  assert_same(one(tmp_path / 'F0.npz', written, protocol), array)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_dill_itself_is_understood(tmp_path: Path, protocol: int) -> None:
  (tmp_path / 'F0.npz').write_bytes(dill.dumps(TREE, protocol=protocol))
  params = read(tmp_path / 'F0.npz')
  assert_same(params['NFNet/~/stem_conv0']['w'], TREE['NFNet/~/stem_conv0']['w'])


@pytest.mark.parametrize('protocol', [2, 3, 4])
def test_arrays_of_old_numpy_come_back(tmp_path: Path, protocol: int) -> None:
  array = np.arange(6, dtype=np.float32).reshape(2, 3)
  data = pickle.dumps({'m': {'w': array, 's': np.float32(2)}}, protocol)
  new, old = b'numpy._core.multiarray', b'numpy.core.multiarray'
  assert new in data
  # Protocol 4 counts the bytes of a name, and of the frame around it, which is read past.
  data = data.replace(b'\x8c\x16' + new, b'\x8c\x15' + old).replace(new, old)
  (tmp_path / 'F0.npz').write_bytes(data)
  params = read(tmp_path / 'F0.npz')
  assert_same(params['m']['w'], array)
  assert_same(params['m']['s'], np.float32(2))


def test_bytes_that_dill_makes_by_the_name_of_their_type_come_back(
  tmp_path: Path, stand_in: Callable
) -> None:
  bytes_type = Written(stand_in('dill._dill._load_type'), ('bytes',))
  make, arguments, (*state, _) = np.zeros((0, 3), np.float32).__reduce__()
  call = pickle.dumps(bytes_type, 2)[2:-1] + b')R'
  data = pickle.dumps(Written(make, arguments, (*state, 12345)), 2)
  # pickle cannot be told to call what another call gave.
  data = b'\x80\x02}X\x01\x00\x00\x00m}X\x01\x00\x00\x00w' + data[2:-1] + b'ss.'
  (tmp_path / 'F0.npz').write_bytes(data.replace(b'M90', call))
  assert_same(read(tmp_path / 'F0.npz')['m']['w'], np.zeros((0, 3), np.float32))


def test_an_array_written_once_for_two_names_comes_back_under_both(tmp_path: Path) -> None:
  array = np.arange(3, dtype=np.float32)
  params = read(dump(tmp_path / 'F0.npz', {'m': {'a': array, 'b': array}}))
  assert_same(params['m']['a'], array)
  assert_same(params['m']['b'], array)


def test_a_whole_network_comes_back(tmp_path: Path) -> None:
  shapes = GOLDEN['nfnet_f0']['params']
  tree = {
    module: {
      name: np.zeros([min(size, 2) for size in shape], np.float32) for name, shape in of.items()
    }
    for module, of in shapes.items()
  }
  params = read(dump(tmp_path / 'F0.npz', tree, 3))
  assert (len(params), sum(map(len, params.values()))) == (94, 233)
  assert params.keys() == shapes.keys()


@pytest.mark.parametrize(
  ('value', 'message'),
  [
    ([], 'the file should be a mapping'),
    (None, 'the file should be a mapping'),
    ({1: {}}, 'the file has keys that are no names'),
    ({'m': 1}, 'm should be a mapping'),
    ({'m': np.zeros(1)}, 'm should be a mapping'),
    ({'m': {1: np.zeros(1)}}, 'm has keys that are no names'),
    ({'m': {'w': {'x': np.zeros(1)}}}, 'm w should be an array of floats, not dict'),
    ({'m': {'w': 1.5}}, 'm w should be an array of floats, not float'),
    (
      {'m': {'w': np.zeros(1, np.int32)}},
      'm w should be an array of floats, not an array of int32',
    ),
    ({'m': {'w': np.zeros(1, bool)}}, 'm w should be an array of floats, not an array of bool'),
    ({'m\nn': 1}, r'm\\nn should be a mapping'),
  ],
)
def test_what_holds_no_parameters_is_named(tmp_path: Path, value: object, message: str) -> None:
  path = dump(tmp_path / 'F0.npz', value)
  with pytest.raises(InputError, match=f'^{re.escape(str(path))}: holds no parameters: {message}'):
    read(path)


def test_bytes_behind_the_end_are_refused(tmp_path: Path) -> None:
  path = dump(tmp_path / 'F0.npz', TREE)
  path.write_bytes(path.read_bytes() + b'xyz')
  with pytest.raises(InputError, match='3 bytes follow its end'):
    read(path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
  with pytest.raises(InputError, match=r'none\.npz: cannot be read: No such file'):
    read(tmp_path / 'none.npz')
  with pytest.raises(InputError, match='cannot be read: Is a directory'):
    read(tmp_path)


def test_the_table_names_every_released_network() -> None:
  released: Mapping = {name for name, row in GOLDEN.items() if re.fullmatch(r'nfnet_f[0-6]', name)}
  assert RELEASED.keys() == released
  for name, row in RELEASED.items():
    assert row.file == f'F{name[-1]}_haiku.npz'
    assert row.url == f'https://storage.googleapis.com/dm-nfnets/{row.file}'
    assert re.fullmatch('[0-9a-f]{32}', row.md5)
  assert len({row.md5 for row in RELEASED.values()}) == 7


def test_the_known_size_is_that_of_the_arrays_and_little_more() -> None:
  overhead = RELEASED['nfnet_f0'].size - 4 * GOLDEN['nfnet_f0']['num_params']
  assert 0 < overhead < 100 * 233
