"""Pickles that attack whoever reads them: made from tables, each with a name of its own."""

import itertools
import pickle
from collections.abc import Callable, Iterator

import numpy as np
from weights.pickle_parts import (
  CALLABLES,
  DTYPE,
  EMPTY_ARRAY,
  LITTLE_ENDIAN,
  WAYS,
  array,
  begun,
  get,
  in_text,
  number,
  params,
  put,
  text,
)

Files = dict[str, bytes]
PROTOCOLS = range(2, 6)
GIGANTIC = (1 << 40).to_bytes(8, 'little')

# Where the attack stands.
NESTS: dict[str, Callable[[bytes], bytes]] = {
  'alone': lambda attack: attack,
  'as leaf': params,
  'as module': lambda attack: b'}' + text('m') + attack + b's',
  'as key': lambda attack: b'}' + attack + b'Ns',
  'in tuples': lambda attack: params(attack + b'\x85' * 100),
  'in lists': lambda attack: b']' * 1000 + attack + b'a' * 1000,
  'above marks': lambda attack: b'(' * 1000 + attack,
  'dropped': lambda attack: attack + b'0' + params(array()),
  'as data': lambda attack: params(array(data=attack)),
  'as shape': lambda attack: params(array(shape=attack)),
  'as dtype': lambda attack: params(array(dtype=attack)),
  'as kind of dtype': lambda attack: params(
    array(dtype=in_text('numpy', 'dtype') + attack + b'\x89\x88\x87R')
  ),
  'as mapping': lambda attack: (
    in_text('haiku._src.data_structures', 'FlatMapping') + attack + b'\x85R'
  ),
  'as array of JAX': lambda attack: params(
    in_text('jax._src.array', '_reconstruct_array') + b'(' + attack + b')NNtR'
  ),
  'as bytes': lambda attack: params(
    array(data=in_text('_codecs', 'encode') + attack + text('latin1') + b'\x86R')
  ),
}


def calls() -> Iterator[tuple[str, bytes]]:
  """Every way with every callable, and every way in every place; places and protocols in turn."""
  nests, protocols = itertools.cycle(NESTS), itertools.cycle(PROTOCOLS)
  first = CALLABLES[0]
  cases = [
    *((way, of, next(nests)) for way in WAYS for of in CALLABLES),
    *((way, first, nest) for way in WAYS for nest in NESTS),
  ]
  for way, (module, name, given), nest in cases:
    protocol = next(protocols)
    attack = WAYS[way](module, name, text(given))
    data = begun(protocol) + NESTS[nest](attack) + pickle.STOP
    yield f'{way}, {module}.{name}, {nest}, protocol {protocol}', data


OBJECTS = {
  'objects': b'O8',
  'texts': b'U1',
  'bytes': b'S1',
  'void': b'V4',
  'gigantic items': b'V1099511627',
  'dates': b'M8',
  'records': b'f4,i4',
  'subarrays': b'(1000,1000)f8',
  'complex': b'c8',
}
SHAPES = {
  'gigantic': number(2**31 - 1) + b'\x85',
  'negative': number(-1) + b'\x85',
  'nothing times gigantic': b'K\x00' + number(2**31 - 1) * 2 + b'\x87',
  'nothing times more': b'K\x00' + b'\x8a\x08' + GIGANTIC + b'\x8a\x08' + GIGANTIC + b'\x87',
  'long': b'\x8a\xff' + b'\x7f' * 255 + b'\x85',
  'true': b'\x88\x85',
  'float': b'G\x3f\xf0\x00\x00\x00\x00\x00\x00\x85',
  'text': text('1') + b'\x85',
  'list': b']K\x01a',
  'none': b'N',
  'a thousand axes': b'(' + b'K\x01' * 1000 + b't',
  'nested': b'K\x01\x85\x85',
}
SIZES = {
  'bytes': b'\x8e' + GIGANTIC,
  'bytes, short': b'B\xff\xff\xff\xff',
  'bytearray': b'\x96' + GIGANTIC,
  'text': b'\x8d' + GIGANTIC,
  'text, short': b'X\xff\xff\xff\xff',
  'frame': b'\x95' + GIGANTIC,
  'memo': b'N' + put(2**32 - 1),
  'memo, read': get(2**32 - 1),
  'memo, never written': b'N' + put(900_000) + b'0' + get(899_999),
  'long': b'\x8b\xff\xff\xff\x7f',
  'long, negative': b'\x8b\xff\xff\xff\xff',
  'number as text': b'I' + b'9' * 100_000 + b'\n',
  'long as text': b'L' + b'9' * 100_000 + b'L\n',
  'float as text': b'F' + b'9' * 100_000 + b'\n',
  'name without end': b'c' + b'a' * 1_000_000,
  'out-of-band buffer': b'\x97',
}


def arrays() -> Iterator[tuple[str, bytes]]:
  """Arrays of what is no number, and of shapes that no array has."""
  for (what, kind), protocol in itertools.product(OBJECTS.items(), PROTOCOLS):
    dtype = in_text('numpy', 'dtype') + text(kind.decode()) + b'\x89\x88\x87R' + LITTLE_ENDIAN
    data = begun(protocol) + params(array(dtype=dtype, data=b']Na')) + b'.'
    yield f'array of {what}, protocol {protocol}', data
  yield 'array of objects as floats', begun() + params(array(data=b']Na')) + b'.'
  yield 'array of itself', begun() + EMPTY_ARRAY + put(0) + b'(K\x01)N\x89' + get(0) + b'tb.'
  for what, shape in SHAPES.items():
    data = b'C\x00' if what.startswith('nothing') else b'C\x04abcd'
    yield f'shape, {what}', begun() + params(array(shape=shape, data=data)) + b'.'
  for what, size in SIZES.items():
    yield f'size of {what}', begun() + params(size) + b'.'


NAMES = {
  'escapes': '\x1b]0;title\x07\x1b[2J',
  'lines': 'a\nerror: all is well\r\n',
  'right to left': '\u202eabc\u2066',
  'surrogate': '\ud800',
  'nothing': '\0',
  'long': 'x' * 1_000_000,
  'wide': '\U0001f600' * 100_000,
}


def names() -> Iterator[tuple[str, bytes]]:
  """Names that would spoil the line of an error."""
  for what, name in NAMES.items():
    yield f'{what} as module', begun() + b'}' + text(name) + b'Ns.'
    yield f'{what} as leaf', begun() + b'}' + text('m') + b'}' + text(name) + b'Nss.'
    yield f'{what} as global', begun() + text('os') + text(name) + b'\x93.'
    yield f'{what} as dtype', begun() + in_text('numpy', 'dtype') + text(name) + b'\x85R.'
    yield (
      f'{what} as dill type',
      begun() + in_text('dill._dill', '_load_type') + text(name) + b'\x85R.',
    )


def walk(bits: int, count: int) -> list[int]:
  """The places where a dict of 2**bits places looks one after the other, once a hash is used up."""
  places = [1]
  while len(places) < count:
    places.append((5 * places[-1] + 1) % 2**bits)
  return places


# Finds nearly every place of such a walk taken, if 200,000 of 2**19 are: 2 ms to look it up.
UNLUCKY, UNLUCKY_BITS, UNLUCKY_LENGTH = 1504112464, 19, 200_000


def doubled(depth: int) -> bytes:
  """A tuple of the tuple before, twice: 2**depth leaves, in a few bytes each."""
  return b')\x94' + b''.join(b'h%ch%c\x86\x94' % (index, index) for index in range(depth))


def _twins(size: int) -> bytes:
  """Two equal texts that are two objects, remembered as 0 and 1."""
  return (text('x' * size) + b'\x94') * 2 + b'00'


def slow() -> Iterator[tuple[str, bytes]]:
  """What takes minutes if it is done as it says."""
  taken = walk(UNLUCKY_BITS, UNLUCKY_LENGTH)
  yield (
    'memo with unlucky places',
    begun() + b'N' + b''.join(map(put, taken)) + put(UNLUCKY) * 100_000 + b'.',
  )
  keys = b''.join(number(key) + b'N' for key in taken)
  yield (
    'dict with unlucky keys',
    begun() + b'}(' + keys + (number(UNLUCKY) + b'N') * 20_000 + b'u.',
  )
  small = b''.join(number(key) + b'N' for key in [*walk(12, 2500), *range(4096, 9999)])
  yield 'dicts with small keys', begun() + (b'}(' + small + b'u0') * 10 + b'N.'
  yield (
    'dict with equal keys',
    begun() + _twins(2_000_000) + b'}(' + (get(0) + b'N' + get(1) + b'N') * 90_000 + b'u.',
  )
  yield (
    'dict with one key',
    begun() + text('x') + put(0) + b'}(' + (get(0) + b'N') * 180_000 + b'u.',
  )
  function = in_text('_codecs', 'encode') + put(2) + text('latin1') + put(3)
  encode = b''.join(get(2) + get(index) + get(3) + b'\x86R0' for index in (0, 1))
  calls_of_it = _twins(2_000_000) + function + encode * 30_000
  yield 'encoding equal texts', begun() + calls_of_it + b'.'
  for what, end in {
    'alone': b'.',
    'as key': b'\x94}h\x64Ns.',
    'called': b')R.',
    'built': b'Nb.',
    'as leaf': b'0' + params(b'h\x64') + b'.',
    'as name': b'h\x64\x93.',
    'as shape': b'0' + params(array(shape=b'h\x64')) + b'.',
  }.items():
    yield f'doubled tuples {what}', begun() + doubled(100) + end


FIND_ARRAY = in_text('numpy.core.multiarray', '_reconstruct')
ARRAY_STATE = b'(K\x01K\x01\x85' + DTYPE + LITTLE_ENDIAN + b'\x89C\x04abcdt'
# What there is to recall: a dict, a function, its arguments and the state of what it makes.
REMEMBERED = b''.join(
  part + put(index) + b'0'
  for index, part in enumerate(
    (b'}', FIND_ARRAY, b'(' + in_text('numpy', 'ndarray') + b'K\x00\x85C\x01bt', ARRAY_STATE)
  )
)
# Opcodes in the unit, and the unit that is repeated.
FLOODS = {
  'marks': (1, b'('),
  'tuples in tuples': (1, b'\x85'),
  'long numbers': (1, b'\x8a\x14' + b'\x7f' * 20),
  'names': (1, in_text('numpy', 'ndarray')),
  'arrays': (3, get(1) + get(2) + b'R'),
  'states of an array': (2, get(3) + b'b'),
}


def floods() -> Iterator[tuple[str, bytes]]:
  """As many opcodes as may be, and more; one thing in very many places; what holds itself."""
  start = begun() + REMEMBERED + EMPTY_ARRAY
  for what, (opcodes, unit) in FLOODS.items():
    yield f'flood of {what}', start + unit * (100_000 // opcodes) + b']a'
  for what in ('tuples in tuples', 'names'):
    yield f'endless flood of {what}', start + FLOODS[what][1] * 500_000 + b'N.'
  leaves = b''.join(text(str(index)) + get(0) for index in range(110_000))
  yield (
    'one array under very many names',
    begun() + array() + put(0) + b'0}' + text('m') + b'}(' + leaves + b'us.',
  )
  inner = (
    b'}(' + b''.join(text(str(index)) + array(data=b'C\x04abcd') for index in range(300)) + b'u'
  )
  outer = b''.join(text(str(index)) + get(0) for index in range(100_000))
  yield 'one dict under very many names', begun() + inner + put(0) + b'0}(' + outer + b'u.'
  yield 'a dict in itself', begun() + b'}' + put(0) + text('m') + get(0) + b's.'
  yield 'a list in itself', begun() + b']' + put(0) + get(0) + b'a.'


def damaged() -> Iterator[tuple[str, bytes]]:
  """A sound file, cut short."""
  tree = {'m': {'w': np.ones((2, 3), np.float32), 's': np.float32(1)}}
  for protocol in PROTOCOLS:
    data = pickle.dumps(tree, protocol)
    for length in range(0, len(data), 13):
      yield f'cut after {length} bytes, protocol {protocol}', data[:length]
    yield f'twice, protocol {protocol}', data * 2


def hostile_pickles() -> Files:
  """All of them by name."""
  kinds = (calls, arrays, names, slow, floods, damaged)
  return dict(itertools.chain.from_iterable(kind() for kind in kinds))
