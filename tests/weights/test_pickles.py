import io
import itertools
import os
import pickle
import pickletools
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nfnets.errors import InputError
from nfnets.weights import pickles, reconstructors
from nfnets.weights.deepmind import read
from nfnets.weights.machine import Global, table_of
from nfnets.weights.sources import Refused, Source

HEAD = b'\x80\x04'
PROTOCOLS = range(2, 6)
GIGANTIC = (1 << 40).to_bytes(8, 'little')


def load(data: bytes, *stand_ins: Global) -> object:
  return pickles.load(Source(io.BytesIO(data), len(data)), table_of(*stand_ins))


def written(path: Path, data: bytes) -> Path:
  path.write_bytes(data)
  return path


class Calling:
  """Pickled as a call of a function."""

  def __init__(self, function: Callable, *arguments: object):
    self.call = (function, arguments)

  def __reduce__(self) -> tuple:
    return self.call


class Plain:
  def __init__(self) -> None:
    self.state = 1


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize(
  'value',
  [
    {},
    {'a': {'b': [1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**1000, -(2**1000)]}},
    [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[]], None, True, False, 1.5],
    ['x', 'ä' * 300, '\ud800', 'x' * 70_000],
    {str(number): number for number in range(2500)},
    {1: 2, -5: 3},
  ],
)
def test_plain_values_are_what_pickle_reads(value: object, protocol: int) -> None:
  assert load(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize('protocol', [3, 4, 5])
def test_bytes_of_every_length(protocol: int) -> None:
  value = [b'', b'x', b'x' * 300, b'x' * 70_000]
  assert load(pickle.dumps(value, protocol)) == value
  assert load(pickle.dumps(bytearray(b'abc'), 5)) == b'abc'


def test_what_is_written_once_is_one_object() -> None:
  shared: list = []
  first, second = load(pickle.dumps([shared, shared], 4))
  assert first is second


def test_a_pickle_ends_where_it_ends() -> None:
  data = pickle.dumps([1], 4) + pickle.dumps([2], 2) + b'rest'
  source = Source(io.BytesIO(data), len(data))
  assert [pickles.load(source, {}), pickles.load(source, {})] == [[1], [2]]
  assert source.remaining == 4


def test_stand_ins_take_the_place_of_names() -> None:
  data = HEAD + b'csome.module\nf\n(K\x01K\x02tR.'
  assert load(data, Global('some.module.f', lambda *numbers: sum(numbers))) == 3


def test_persistent_ids_go_to_who_asked_for_them() -> None:
  data = HEAD + b'\x8c\x01xQ.'
  source = Source(io.BytesIO(data), len(data))
  assert pickles.load(source, {}, lambda identity: [identity]) == ['x']
  with pytest.raises(Refused, match='refuses a persistent id'):
    load(data)


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    (b'', 'is empty'),
    (b'\x80', 'is no pickle'),
    (b'PK\x03\x04', 'is no pickle'),
    (b'<html></html>', 'is no pickle'),
    (b'\x80\x01}.', 'is no pickle of protocol 2 to 5'),
    (b'\x80\x06}.', 'is no pickle of protocol 2 to 5'),
    (HEAD, 'is cut short'),
    (HEAD + b'cos', 'a name in it does not end'),
    (HEAD + b'c' + b'x' * 5000 + b'\n', 'a name in it does not end'),
    (HEAD + b'\xff.', 'refuses the opcode 0xff'),
    (HEAD + b'\x8f.', 'refuses the opcode EMPTY_SET'),
    (HEAD + b'2.', 'refuses the opcode DUP'),
    (HEAD + b'\x82\x01.', 'refuses the opcode EXT1'),
    (HEAD + b'Pid\n.', 'refuses the opcode PERSID'),
    (HEAD + b'\x97.', 'refuses the opcode NEXT_BUFFER'),
    (HEAD + b'K\x01Q.', 'refuses a persistent id'),
    (HEAD + b'K\x01)R.', 'refuses to call a int'),
    (HEAD + b'K\x01Nb.', 'refuses to set the state of a int'),
    (HEAD + b'cnumpy\nndarray\n)R.', 'refuses to call numpy.ndarray'),
    (HEAD + b'inumpy\nndarray\n.', 'refuses to make an instance of numpy.ndarray'),
    (HEAD + b'ios\nsystem\n.', 'refuses to load os.system'),
    (HEAD + b'cos\nsys\xc3\xa4\n.', r'refuses to load os.sys\\xe4'),
    (HEAD + b'K\x01K\x02\x93.', 'refuses to load '),
    (HEAD + b'ccollections\nOrderedDict\n(NNtR.', 'makes no sense'),
    (HEAD + b'ccollections\nOrderedDict\n]R.', 'no proper arguments'),
    (HEAD + b'})Ns.', 'refuses a dict with a tuple as key'),
    (HEAD + b'}(\x8c\x01xu.', 'makes no sense'),
    (HEAD + b'}(\x8c\x01xN\x8c\x01xNu.', 'a dict in it has x twice'),
    (HEAD + b'}\x8c\x01x\x94Nsh\x00Ns.', 'a dict in it has x twice'),
    (HEAD + b'}J\xff\xff\xff\x7fNs.', 'refuses a dict with a int as key'),
    (HEAD + b'}X\x00\x08\x00\x00' + b'x' * 2048 + b'Ns.', 'refuses a dict with xxx'),
    (HEAD + b'Nr\x40\x42\x0f\x00.', 'remembers more than 1,000,000 values'),
    (HEAD + b'Nq\x05h\x04.', 'recalls what it never made'),
    (HEAD + b')N\x61.', 'appends to what is no list'),
    (HEAD + b')NNs.', 'adds keys to what is no dict'),
    (HEAD + b't.', 'makes no sense'),
    (HEAD + b'h\x07.', 'makes no sense'),
    (HEAD + b'.', 'makes no sense'),
    (HEAD + b'R.', 'takes what it never made'),
  ],
)
def test_what_is_no_weights_gets_one_line(tmp_path: Path, data: bytes, message: str) -> None:
  path = written(tmp_path / 'F0.npz', data)
  with pytest.raises(InputError, match=message) as caught:
    read(path)
  assert str(caught.value).startswith(f'{path}: ')
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize(
  ('call', 'name'),
  [
    (Calling(os.system, 'touch ran'), f'{os.system.__module__}.system'),
    (Calling(eval, '1'), 'eval'),
    (Calling(getattr, 'numpy', 'load'), 'getattr'),
    (Calling(__import__, 'os'), '__import__'),
    (Calling(np.load, 'x'), 'numpy.load'),
    (Calling(np.zeros, 10**6), 'numpy.zeros'),
    (Calling(pickle.loads, b''), 'pickle.loads'),
    (Calling(Path, '/'), 'pathlib.'),
    (Calling(Calling, Calling(os.system, 'touch ran')), 'Calling'),
    (Plain(), 'Plain'),
    (np.array([Calling(os.system, 'touch ran')]), 'an array of dtype O8'),
    (np.ma.masked_array([1.0]), 'numpy.ma.'),
    (np.zeros(2, 'f4,i4'), ''),
    (np.array(['text']), ''),
    (np.array(['2020-01-01'], 'M8[D]'), ''),
    (slice(1), 'slice'),
    ({1, 2}, ''),
    (1j, 'complex'),
  ],
  ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_nothing_is_run(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: object, name: str, protocol: int
) -> None:
  monkeypatch.chdir(tmp_path)
  for value in (call, {'module': {'w': call}}, {'module': {'w': [(call,)]}}):
    path = written(tmp_path / 'F0.npz', pickle.dumps(value, protocol))
    with pytest.raises(InputError, match=rf'F0\.npz: refuses .*{name}') as caught:
      read(path)
    assert '\n' not in str(caught.value)
  assert not (tmp_path / 'ran').exists()


CALLS = {
  'reduce': b'cos\nsystem\n\x8c\x09touch ran\x85R.',
  'reduce by stack': b'\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.',
  'inst': b'(\x8c\x09touch ranios\nsystem\n.',
  'obj': b'(cos\nsystem\n\x8c\x09touch rano.',
  'newobj': b'cos\nsystem\n\x8c\x09touch ran\x85\x81.',
  'newobj with names': b'cos\nsystem\n\x8c\x09touch ran\x85}\x92.',
  'build': b'}}\x8c\x0c__setstate__cos\nsystem\nsb\x8c\x09touch ranb.',
  'attribute': b'cos\npath.os.system\n\x8c\x09touch ran\x85R.',
  'through NumPy': b'cnumpy\nsys.modules\n.',
  'jax with another function': b'cjax._src.array\n_reconstruct_array\n(cos\nsystem\n)Ntr.',
  'jax in jax': b'cjax._src.array\n_reconstruct_array\n\x94(h\x00)N}tR.',
  'dill with a mapping': b'cdill._dill\n_create_array\n(ccollections\nOrderedDict\n)NNtR.',
  'dill by its own': b'cdill._dill\n_eval_repr\n\x8c\x0112\x85R.',
  'obj of a stand-in': b'(ccollections\nOrderedDict\no.',
  'newobj of a stand-in': b'ccollections\nOrderedDict\n)\x81.',
  'another class of array': b'cnumpy._core.multiarray\n_reconstruct\n(cnumpy\ndtype\n)C\x01btR.',
  'another encoding': b'c_codecs\nencode\n\x8c\x01x\x8c\x03hex\x86R.',
}


@pytest.mark.parametrize('way', CALLS)
@pytest.mark.parametrize('before', [b'', b'}\x8c\x01m', b'((((', b']' * 1000, b'N0' * 1000])
def test_no_opcode_calls_anything(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, before: bytes
) -> None:
  monkeypatch.chdir(tmp_path)
  path = written(tmp_path / 'F0.npz', HEAD + before + CALLS[way])
  with pytest.raises(InputError, match=r'F0\.npz: (refuses|is damaged)') as caught:
    read(path)
  assert '\n' not in str(caught.value)
  assert not (tmp_path / 'ran').exists()


def array_with(shape: bytes, dtype: bytes = b'\x8c\x02f4', data: bytes = b'C\x04abcd') -> bytes:
  """A pickle of one array, with hostile parts."""
  return (
    b'cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01'
    + shape
    + b'cnumpy\ndtype\n'
    + dtype
    + b'\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89'
    + data
    + b'tb.'
  )


HOSTILE_SIZES = {
  'bytes': b'\x8e' + GIGANTIC,
  'bytearray': b'\x96' + GIGANTIC,
  'text': b'\x8d' + GIGANTIC,
  'negative bytes': b'B\xff\xff\xff\xff',
  'memo': b')r\xff\xff\xff\xff.',
  'frame': b'\x95' + GIGANTIC + b'].',
  'long': b'\x8b\xff\xff\xff\x7f',
  'marks': b'(' * 2_000,
  'shape': array_with(b'J\xff\xff\xff\x7f\x85'),
  'many axes': array_with(b'(' + b'K\x01' * 1000 + b't'),
  'no bytes, gigantic axis': array_with(b'K\x00J\xff\xff\xff\x7f\x86', data=b'C\x00'),
  'negative shape': array_with(b'J\xff\xff\xff\xff\x85'),
  'shape of texts': array_with(b'\x8c\x014\x85'),
  'shape in a list': array_with(b']K\x01a'),
  'objects': array_with(b'K\x01\x85', b'\x8c\x02O8', b']Na'),
  'objects as floats': array_with(b'K\x01\x85', data=b']Na'),
  'texts': array_with(b'K\x01\x85', b'\x8c\x02U1'),
  'gigantic items': array_with(b'K\x01\x85', b'\x8c\x0bV1099511627'),
  'dtype by a tuple': array_with(b'K\x01\x85', b')'),
}


@pytest.mark.parametrize('what', HOSTILE_SIZES)
def test_gigantic_sizes_take_no_memory(tmp_path: Path, what: str) -> None:
  path = written(tmp_path / 'F0.npz', HEAD + HOSTILE_SIZES[what])
  tracemalloc.start()
  try:
    with pytest.raises(InputError, match=r'F0\.npz: ') as caught:
      read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
  finally:
    tracemalloc.stop()
  assert '\n' not in str(caught.value)


def doubled(depth: int) -> bytes:
  """A tuple of the tuple before, twice: 2**depth leaves, in a few bytes each."""
  return b')\x94' + b''.join(b'h%ch%c\x86\x94' % (index, index) for index in range(depth))


@pytest.mark.parametrize(
  'data',
  [
    b'}' + doubled(100) + b'Ns.',  # as a key: Python would hash it for ever
    b'}' + doubled(100) + b's.',
    doubled(100) + b'.',
    doubled(100) + b')R.',
    doubled(100) + b'Nb.',
    b'}\x8c\x01m' + doubled(100) + b's.',
    b'cnumpy\ndtype\n' + doubled(100) + b'NN\x87R.',
    b'c_codecs\nencode\n' + doubled(100) + b'\x8c\x06latin1\x86R.',
  ],
)
def test_shared_nesting_is_not_unfolded(tmp_path: Path, data: bytes) -> None:
  with pytest.raises(InputError, match=r'F0\.npz: ') as caught:
    read(written(tmp_path / 'F0.npz', HEAD + data))
  assert len(str(caught.value)) < 400


def test_the_number_of_opcodes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr(pickles, 'MOST_OPCODES', 1000)
  load(HEAD + b'N0' * 499 + b'N.')
  with pytest.raises(Refused, match='refuses a pickle of more than 1,000 opcodes'):
    load(HEAD + b'N0' * 500 + b'N.')


def test_one_dict_under_many_names_is_refused(tmp_path: Path) -> None:
  shared = {str(number): np.float32(0) for number in range(1000)}
  path = written(tmp_path / 'F0.npz', pickle.dumps({str(n): shared for n in range(1000)}, 4))
  with pytest.raises(InputError, match=r'F0\.npz: holds no parameters: more than 100,000 names'):
    read(path)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_every_truncation_is_refused(tmp_path: Path, protocol: int) -> None:
  data = pickle.dumps({'m': {'w': np.ones((2, 3), np.float32), 's': np.float32(1)}}, protocol)
  for length in range(len(data)):
    with pytest.raises(InputError, match=r'F0\.npz: '):
      read(written(tmp_path / 'F0.npz', data[:length]))


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_damage_is_read_or_refused(tmp_path: Path, protocol: int) -> None:
  data = pickle.dumps({'m': {'w': np.ones((2, 3), np.float32), 's': np.float32(1)}}, protocol)
  rng = np.random.default_rng(protocol)
  messages = []
  for _ in range(500):
    damaged = bytearray(data)
    damaged[rng.integers(len(data))] = rng.integers(256)
    try:
      params = read(written(tmp_path / 'F0.npz', bytes(damaged)))
    except InputError as error:
      messages.append(str(error))
    else:
      arrays = itertools.chain(*(arrays.values() for arrays in params.values()))
      assert all(isinstance(array, np.ndarray) for array in arrays)
  assert len(messages) > 100
  assert not any('\n' in message for message in messages)


def test_every_opcode_that_pickle_writes_from_protocol_2_is_known_or_refused_by_name() -> None:
  for opcode in pickletools.opcodes:
    data = HEAD + opcode.code.encode('latin-1')
    with pytest.raises(Refused) as caught:
      load(data)
    known = opcode.code.encode('latin-1') in pickles._ACTIONS or opcode.name == 'STOP'
    assert known or opcode.name in str(caught.value)


def test_one_text_is_encoded_once() -> None:
  """Equal texts are not compared; the same one does not become bytes again."""
  encode = b'c_codecs\nencode\n\x94'
  call = b'h\x01h\x00\x8c\x06latin1\x86R'
  data = HEAD + b'\x8c\x03abc\x940' + encode + b'0' + call + call + b'\x86.'
  first, second = pickles.load(Source(io.BytesIO(data), len(data)), reconstructors.table())
  assert first == b'abc'
  assert first is second
