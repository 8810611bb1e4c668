"""The safetensors format: a JSON header with names, dtypes and places, then the bytes.

The format is documented at https://github.com/huggingface/safetensors.  It is read here straight
into one array for each tensor, so that these are all the memory that reading takes.
"""

import contextlib
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from nfnets.errors import InputError
from nfnets.weights.shapes import is_shape
from nfnets.weights.sources import Refused, Source, opened, printable

Tensors = dict[str, np.ndarray]

_DTYPES = {
  'F64': np.dtype('<f8'),
  'F32': np.dtype('<f4'),
  'F16': np.dtype('<f2'),
  'BF16': np.dtype(ml_dtypes.bfloat16),
  'I64': np.dtype('<i8'),
  'I32': np.dtype('<i4'),
  'I16': np.dtype('<i2'),
  'I8': np.dtype('i1'),
  'U64': np.dtype('<u8'),
  'U32': np.dtype('<u4'),
  'U16': np.dtype('<u2'),
  'U8': np.dtype('u1'),
  'BOOL': np.dtype('?'),
}
_NAMES = {dtype.newbyteorder('='): name for name, dtype in _DTYPES.items()}
_METADATA = '__metadata__'
# The format allows 100 MB, of which JSON could make gigabytes; the largest network needs 0.2 MB.
_LONGEST_HEADER = 4_000_000


def read(path: str | os.PathLike) -> tuple[Tensors, dict[str, str]]:
  """The tensors and the metadata of a file.

  Returns:
    Name -> read-only array, in the order of the header, and key -> text.

  Raises:
    InputError: the file cannot be read, is damaged, or has a dtype that NumPy has not.
  """
  with opened(path) as source:
    entries, metadata = _header(source)
    names = _in_order(entries)
    arrays = source.read_arrays([entries[name].end - entries[name].begin for name in names])
    if source.remaining:
      raise Refused(f'is damaged: {source.remaining} bytes belong to no tensor')
    data = dict(zip(names, arrays, strict=True))
    return {
      name: data[name].view(entry.dtype).reshape(entry.shape) for name, entry in entries.items()
    }, metadata


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
  """The metadata alone: nothing else is read.

  Raises:
    InputError: as `read`.
  """
  with opened(path) as source:
    return _header(source)[1]


def write(
  path: str | os.PathLike, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
  """Writes a file, which is there whole or not at all.

  Args:
    path: where; an older file is replaced.
    tensors: name -> array of numbers.
    metadata: key -> text.

  Raises:
    InputError: the file cannot be written, or a tensor has a dtype that the format has not.
  """
  for name, tensor in tensors.items():
    if tensor.dtype.newbyteorder('=') not in _NAMES or name == _METADATA:
      raise InputError(f'tensors: {name!r} of dtype {tensor.dtype} has no place in safetensors')
  # The widest first: then each starts at a multiple of its width.
  order = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
  entries: dict[str, object] = {_METADATA: dict(metadata)}
  end = 0
  for name in order:
    begin, end = end, end + tensors[name].nbytes
    entries[name] = {
      'dtype': _NAMES[tensors[name].dtype.newbyteorder('=')],
      'shape': list(tensors[name].shape),
      'data_offsets': [begin, end],
    }
  header = json.dumps(entries, separators=(',', ':')).encode()
  header += b' ' * (-len(header) % 8)
  with _replaced(Path(path)) as file:
    file.write(struct.pack('<Q', len(header)) + header)
    for name in order:
      tensor = tensors[name].astype(tensors[name].dtype.newbyteorder('<'), copy=False)
      file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)


class _Entry(NamedTuple):
  """Where the bytes of a tensor are, counted from the end of the header, and what they mean."""

  dtype: np.dtype
  shape: tuple[int, ...]
  begin: int
  end: int


def _header(source: Source) -> tuple[dict[str, _Entry], dict[str, str]]:
  (length,) = struct.unpack('<Q', source.read(8))
  if length > _LONGEST_HEADER:
    raise Refused(f'is no safetensors file: its header would have {length:,} bytes')
  try:
    header = json.loads(str(source.read(length), 'utf-8'), object_pairs_hook=_mapping)
  except (ValueError, RecursionError) as error:
    raise Refused('is no safetensors file: its header is no JSON') from error
  if type(header) is not dict:
    raise Refused('is no safetensors file: its header is no mapping')
  metadata = header.pop(_METADATA, {})
  if type(metadata) is not dict or not all(type(text) is str for text in metadata.values()):
    raise Refused(f'is damaged: {_METADATA} is no mapping of texts')
  return {name: _entry(name, entry) for name, entry in header.items()}, metadata


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  mapping = dict(pairs)
  if len(mapping) < len(pairs):
    raise Refused('is damaged: its header has a name twice')
  return mapping


def _entry(name: str, entry: object) -> _Entry:
  match entry:
    case {'dtype': str(dtype), 'shape': [*shape], 'data_offsets': [begin, end]}:
      if dtype not in _DTYPES:
        raise Refused(f'refuses {printable(name)}: NumPy has no dtype {printable(dtype)}')
      proper = type(begin) is type(end) is int and is_shape(shape)
      if proper and math.prod(shape) * _DTYPES[dtype].itemsize == end - begin:
        return _Entry(_DTYPES[dtype], tuple(shape), begin, end)
  raise Refused(f'is damaged: the entry of {printable(name)} in its header makes no sense')


def _in_order(entries: Mapping[str, _Entry]) -> list[str]:
  """The tensors as their bytes follow one another: without holes, in an order of their own."""
  place = 0
  names = sorted(entries, key=lambda name: entries[name][2:])
  for name in names:
    if entries[name].begin != place:
      raise Refused(f'is damaged: the bytes of {printable(name)} do not follow those before')
    place = entries[name].end
  return names


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
  """A new file that takes the place of `path` once it is whole."""
  new = path.with_name(f'.{path.name}.{os.getpid()}.new')
  try:
    with new.open('wb') as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(new, path)
  except OSError as error:
    raise InputError(f'{path}: cannot be written: {error.strerror}') from error
  finally:
    with contextlib.suppress(OSError):
      new.unlink()
