"""Safetensors, our own files and what torch saves, made to attack whoever reads them."""

import io
import json
import struct
import zipfile
from collections.abc import Iterator

import numpy as np
from weights.hostile import NAMES, UNLUCKY, Files, walk
from weights.pickle_parts import CALLABLES, number, text
from weights.test_torch_files import MAGIC, Named, Stored, Written, pickled, tensor

SYSTEM = {'protocol_version': 1001, 'little_endian': True}
DATA = np.arange(4, dtype=np.float32).tobytes()


def safetensors(header: object, data: bytes = b'1234') -> bytes:
  start = header if isinstance(header, bytes) else json.dumps(header).encode()
  return struct.pack('<Q', len(start)) + start + data


def entry(
  dtype: object = 'U8', shape: object = (4,), begin: object = 0, end: object = 4
) -> dict[str, object]:
  return {'dtype': dtype, 'shape': shape, 'data_offsets': [begin, end]}


X = json.dumps(entry()).encode()
HEADERS: dict[str, object] = {
  'many lists': b'{"a":[' + b'[],' * 1_000_000 + b'[]]}',
  'many mappings': b'{"a":[' + b'{},' * 300_000 + b'{}]}',
  'too many lists': b'{"a":[' + b'[],' * 2_000_000 + b'[]]}',
  'lists in lists': b'{"a":' + b'[' * 500_000,
  'mappings in mappings': b'{"a":' * 500_000,
  'a long number': b'{"a":' + b'9' * 1_000_000 + b'}',
  'a long fraction': b'{"a":0.' + b'9' * 1_000_000 + b'e-9999999}',
  'a text without end': b'{"a":"' + b'a' * 1_000_000,
  'backslashes': b'{"a":"' + b'\\\\' * 500_000,
  'a name twice': b'{"x":' + X + b',"x":' + X + b'}',
  'a field twice': b'{"x":{"dtype":"U8",' + X[1:] + b'}',
  'UTF-16': '{"x":1}'.encode('utf-16-le'),
  'UTF-32': '{"x":1}'.encode('utf-32-le'),
  'a mark of UTF-8': b'\xef\xbb\xbf{}',
  'bytes that are no text': b'{"\xff":1}',
  'no number': {'x': entry(end=float('nan'))},
  'no end': {'x': entry(end=float('inf'))},
  'true and false': {'x': entry(shape=[True], begin=False, end=True)},
  'offsets that are true': {'x': entry(shape=[1], begin=False, end=True)},
  'offsets with a point': {'x': entry(begin=0.0, end=4.0)},
  'three offsets': {'x': {**entry(), 'data_offsets': [0, 4, 4]}},
  'offsets turned round': {'x': entry(begin=4, end=0)},
  'an overlap': {'x': entry(), 'y': entry()},
  'a hole': {'x': entry(shape=[1], begin=3)},
  'all and more': {'x': entry(shape=[2**40], end=2**40)},
  'no bytes, gigantic': {'x': entry(shape=[0, 2**62, 2**62], end=0)},
  'no bytes, more than that': {'x': entry(shape=[0, 10**4000], end=0)},
  'thousands of axes': {'x': entry(shape=[1] * 10_000)},
  'axes that are nested': {'x': entry(shape=[[4]])},
  'many entries': {f'x{index}': entry() for index in range(15_000)},
  'metadata that are numbers': {'__metadata__': {'a': 1}, 'x': entry()},
  'metadata that are nested': b'{"__metadata__":' + b'{"a":' * 100_000,
  **{f'{what} as name': {name: entry()} for what, name in NAMES.items()},
  **{f'{what} as dtype': {'x': entry(dtype=name)} for what, name in NAMES.items()},
  **{
    f'{what} as model': {
      '__metadata__': {'format': 'nfnets', 'format_version': '1', 'model': f'{name:<2000}'}
    }
    for what, name in NAMES.items()
  },
  **{
    f'{what} as version': {'__metadata__': {'format': 'nfnets', 'format_version': name}}
    for what, name in NAMES.items()
  },
}
OPTIONS = {
  'many lists': '[' + '[],' * 200_000 + '[]]',
  'lists in lists': '[' * 500_000,
  'a long number': '9' * 1_000_000,
  'nothing': '',
}


def hostile_safetensors() -> Files:
  """All of them by name."""
  files = {f'header with {what}': safetensors(header) for what, header in HEADERS.items()}
  for field in ('options', 'preprocessing', 'labels'):
    for what, value in OPTIONS.items():
      metadata = {'format': 'nfnets', 'format_version': '1', 'model': 'x', field: value}
      files[f'{field} with {what}'] = safetensors({'__metadata__': metadata, 'm:w': entry()})
  for length in (0, 1, 2**31, 2**62, 2**64 - 1):
    files[f'header of {length} bytes'] = struct.pack('<Q', length) + b'{}'
  return files


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', compression) as archive:
    for name, data in members.items():
      archive.writestr(name, data)
  return file.getvalue()


def archive(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
  return zipped({'model/data.pkl': content, 'model/data/0': DATA}, compression)


def in_a_row(content: bytes, keys: object = ('0',)) -> bytes:
  start = b''.join(map(pickled, (MAGIC, 1001, SYSTEM)))
  keys = keys if isinstance(keys, bytes) else pickled([*keys])
  return start + content + keys + struct.pack('<q', 4) + DATA


def stored(key: str = '0', length: object = 4, kind: str = 'FloatStorage') -> Stored:
  return Stored(kind, key, length)


# Names that text can hold, on one line.
KINDS = {what: name for what, name in NAMES.items() if what not in ('lines', 'surrogate')}
TENSORS: dict[str, object] = {
  'a storage of true numbers': tensor(stored(length=True)),
  'a storage of fewer than none': tensor(stored(length=-1)),
  'a gigantic storage': tensor(stored(length=2**39)),
  'a storage beyond all': tensor(stored(length=2**2000)),
  'a storage elsewhere': tensor(stored('../../../etc/passwd')),
  'a storage that is the pickle': tensor(stored('../data.pkl')),
  'numbers beyond the end': tensor(stored(), 2**39),
  'no numbers, gigantic': tensor(stored(), 0, (0, 2**39, 2**39), (1, 1, 1)),
  'one number gigantic times': tensor(stored(), 0, (2**39,), (0,)),
  'steps beyond the end': tensor(stored(), 0, (2,), (2**39,)),
  'steps back': tensor(stored(), 3, (2,), (-1,)),
  'true sizes': tensor(stored(), 0, (True,), (True,)),
  'thousands of axes': tensor(stored(), 0, (1,) * 5000, (1,) * 5000),
  'another view': tensor(Stored('FloatStorage', '0', 4, ('0', 0, 1))),
  'two kinds of one storage': [tensor(stored()), tensor(stored(kind='DoubleStorage'))],
  **{f'{what} as storage': tensor(stored(name)) for what, name in NAMES.items()},
  **{f'{what} as kind': tensor(stored(kind=name)) for what, name in KINDS.items()},
  **{
    f'{module}.{name}': Written(Named(f'{module}.{name}'), (given,))
    for module, name, given in CALLABLES
  },
}


def _patched(data: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
  """With other bytes at a place of the last record of a kind."""
  place = data.rindex(signature) + offset
  return data[:place] + value + data[place + len(value) :]


def archives() -> Iterator[tuple[str, bytes]]:
  """Zip archives that lie about what is in them."""
  good = archive(pickled({'x': tensor(stored())}))
  directory, end = b'PK\x01\x02', b'PK\x05\x06'
  big = (2**32 - 2).to_bytes(4, 'little')
  for what, signature, offset, value in (
    ('deflated in the directory', directory, 10, b'\x08\x00'),
    ('an unknown compression', directory, 10, b'\x63\x00'),
    ('encrypted', directory, 8, b'\x01\x00'),
    ('patched', directory, 8, b'\x20\x00'),
    ('gigantic when unpacked', directory, 24, big),
    ('gigantic when packed', directory, 20, big * 2),
    ('in the place of another', directory, 42, bytes(4)),
    ('beyond the end', directory, 42, big),
    ('in zip64 without saying where', directory, 20, b'\xff' * 8),
    ('with a name without end', directory, 28, b'\xff\xff'),
    ('of a version to come', directory, 6, b'\xff\x00'),
    ('a gigantic directory', end, 12, big),
    ('a directory elsewhere', end, 16, big),
    ('no directory', end, 12, bytes(8)),
    ('on many disks', end, 4, b'\xff\xff\xff\xff'),
  ):
    yield f'entry {what}', _patched(good, signature, offset, value)
  record = struct.pack('<4sQ2H2L4Q', b'PK\6\6', 44, 45, 45, 0, 0, 9, 9, 2**63, 2**64 - 1)
  locator = struct.pack('<4sLQL', b'PK\6\7', 0, len(good), 1)
  yield 'zip64 with gigantic numbers', good + record + locator + good[good.rindex(end) :]
  entry = struct.pack('<4s6H3L5H2L', directory, 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
  many = (entry + b'a') * 200_000
  yield (
    'very many entries',
    b'PK\x03\x04' + many + struct.pack('<4s4H2LH', end, 0, 0, 9, 9, len(many), 4, 0),
  )
  content = pickled({'x': tensor(stored())})
  yield 'a bomb', archive(content + bytes(50_000_000), zipfile.ZIP_DEFLATED)
  yield 'two pickles', zipped({'a/data.pkl': content, 'b/data.pkl': content})
  yield 'a name with escapes', zipped({'\x1b[2J/data.pkl': content})


def rows() -> Iterator[tuple[str, bytes]]:
  """Pickles in a row that keep whoever reads them busy."""
  good = pickled({'x': tensor(stored())})
  twins = (text('x' * 3_000_000) + b'\x94') * 2 + b'00'
  keys = b'\x80\x02' + twins + b'](' + b'h\x00h\x01' * 100_000 + b'e.'
  yield 'equal names of storages', in_a_row(good, keys)
  yield 'a storage many times', in_a_row(good, ['0'] * 100_000)
  yield 'storages that no one named', in_a_row(good, ['0', '1'])
  yield 'a list of numbers', in_a_row(good, b'\x80\x02](' + b'K\x01' * 100_000 + b'e.')
  busy = b'\x80\x02' + b'N0' * 80_000
  yield (
    'five long pickles',
    b''.join(
      [
        busy + pickled(MAGIC)[2:],
        busy + pickled(1001)[2:],
        busy + pickled(SYSTEM)[2:],
        busy + good[2:],
        busy + b'N.',
      ]
    ),
  )
  unlucky = b''.join(number(key) + b'N' for key in [*walk(18, 100_000), UNLUCKY])
  yield 'a dict with unlucky keys', in_a_row(b'\x80\x02}(' + unlucky + b'u.')
  doubled = b')\x94' + b''.join(b'h%ch%c\x86\x94' % (index, index) for index in range(100))
  for what, place in {'number': 0, 'version': 1, 'system': 2, 'content': 3, 'keys': 4}.items():
    parts = [pickled(MAGIC), pickled(1001), pickled(SYSTEM), good, pickled(['0'])]
    parts[place] = b'\x80\x02' + doubled + b'.'
    yield f'doubled tuples as {what}', b''.join(parts)


def hostile_torch_files() -> Files:
  """All of them by name."""
  files = {**dict(archives()), **dict(rows())}
  for what, value in TENSORS.items():
    values = value if isinstance(value, list) else [value]
    content = pickled({str(index): one for index, one in enumerate(values)})
    files[f'archive, {what}'] = archive(content)
    files[f'row, {what}'] = in_a_row(content)
  blocks = [f'stages.{stage}.{block}.x' for stage in range(5) for block in range(2000)]
  files['thousands of blocks'] = archive(pickled(dict.fromkeys(blocks, tensor(stored()))))
  return files
