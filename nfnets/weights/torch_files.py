"""State dicts that torch wrote, read without torch and without running anything in them.

Since 1.6 torch writes a zip archive with a pickle and a file for each storage; before, and when
told to, five pickles in a row with the storages behind them.  In both the pickle describes tensors
as windows on storages: an offset, sizes and strides.
"""

import dataclasses
import math
import os
import struct
import zipfile
from typing import TypeGuard

import ml_dtypes
import numpy as np

from nfnets.weights import pickles, reconstructors
from nfnets.weights.machine import Global, Table, table_of
from nfnets.weights.sources import Refused, Source, opened, printable

Tensors = dict[str, np.ndarray]

_STORAGES = {
  'DoubleStorage': np.dtype('<f8'),
  'FloatStorage': np.dtype('<f4'),
  'HalfStorage': np.dtype('<f2'),
  'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
  'LongStorage': np.dtype('<i8'),
  'IntStorage': np.dtype('<i4'),
  'ShortStorage': np.dtype('<i2'),
  'CharStorage': np.dtype('i1'),
  'ByteStorage': np.dtype('u1'),
  'BoolStorage': np.dtype('?'),
}
# Where training scripts keep the state dict in a file with other things; averaged weights first.
_INSIDE = ('state_dict_ema', 'model_ema', 'state_dict', 'model')
_PARALLEL = 'module.'  # what DistributedDataParallel puts before every name
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_AXES = 32
_MOST_TENSORS = 100_000
_BIG_ENDIAN = 'was written on a big-endian machine: write it anew on another'


def read(path: str | os.PathLike) -> Tensors:
  """The tensors of a state dict, by name.

  Args:
    path: a file of `torch.save`, in either of its formats.  The state dict is all of it, or is
      under a name that training scripts use; averaged weights are preferred.

  Returns:
    Name -> array; some may share memory, as in the file.

  Raises:
    InputError: the file cannot be read, is damaged, or holds anything but tensors in mappings.
  """
  with opened(path) as source:
    return _read_archive(source) if _is_archive(path) else _read_in_a_row(source)


def _is_archive(path: str | os.PathLike) -> bool:
  with open(path, 'rb') as file:
    return file.read(2) == b'PK'


@dataclasses.dataclass(frozen=True)
class _Storage:
  key: str
  dtype: np.dtype
  length: int

  @property
  def size(self) -> int:
    """In bytes."""
    return self.length * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """A window on a storage."""

  storage: _Storage
  offset: int
  sizes: tuple[int, ...]
  strides: tuple[int, ...]

  def array(self, data: bytes) -> np.ndarray:
    """The numbers, from the bytes of the storage."""
    if 0 in self.sizes:
      return np.empty(self.sizes, self.storage.dtype)
    itemsize = self.storage.dtype.itemsize
    strides = tuple(stride * itemsize for stride in self.strides)
    return np.ndarray(self.sizes, self.storage.dtype, data, self.offset * itemsize, strides)


def _tensor(storage: object, offset: object, sizes: object, strides: object, *_: object) -> _Tensor:
  if not isinstance(storage, _Storage):
    raise Refused('is damaged: a tensor in it has no storage')
  if type(offset) is not int or not 0 <= offset < 2**40:
    raise Refused('is damaged: a tensor in it has no proper offset')
  if not _are_counts(sizes) or not _are_counts(strides):
    raise Refused('is damaged: a tensor in it has no proper sizes or strides')
  last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
  # No more numbers than are stored: with a stride of 0 a size of 2**40 would fit as well.
  if 0 not in sizes and max(last + 1, math.prod(sizes)) > storage.length:
    raise Refused('is damaged: a tensor in it is larger than its storage')
  return _Tensor(storage, offset, sizes, strides)


def _are_counts(numbers: object) -> TypeGuard[tuple[int, ...]]:
  if type(numbers) is not tuple or len(numbers) > _MOST_AXES:
    return False
  return all(type(number) is int and 0 <= number < 2**40 for number in numbers)


def _parameter(tensor: object, *_: object) -> object:
  return tensor


def _table() -> Table:
  return {
    **reconstructors.table(),
    **table_of(
      Global('torch._utils._rebuild_tensor_v2', _tensor),
      Global('torch._utils._rebuild_parameter', _parameter),
      *(Global(f'torch.{name}', value=dtype) for name, dtype in _STORAGES.items()),
    ),
  }


class _Storages(dict[str, _Storage]):
  """The storages that a pickle mentions, by their keys."""

  def by_identity(self, identity: object) -> _Storage:
    """What stands in for a storage, by its persistent id."""
    match identity:
      case ('storage', Global(value=np.dtype() as dtype), str(key), str(), int(length), *view):
        storage = _Storage(key, dtype, length)
        if view in ([], [None]) and length >= 0 and self.setdefault(key, storage) == storage:
          return storage
    raise Refused('refuses a storage that is not described as torch does')


# zipfile documents the first; the rest come from archives that were damaged on purpose.
_ZIP_ERRORS = (
  zipfile.BadZipFile,
  EOFError,
  LookupError,
  OSError,
  RuntimeError,
  ValueError,
  struct.error,
)


def _read_archive(source: Source) -> Tensors:
  try:
    with zipfile.ZipFile(source.stream) as archive:
      return _read_members(_Members(archive, source.remaining))
  except _ZIP_ERRORS as error:
    raise Refused(f'is a damaged zip archive: {printable(str(error))}') from error


class _Members:
  """The files in an archive of torch, all in one folder."""

  def __init__(self, archive: zipfile.ZipFile, size: int):
    self._archive = archive
    self._budget = size  # entries may overlap: no more is read than the archive holds
    found = [name for name in archive.namelist() if name.endswith('/data.pkl')]
    if len(found) != 1:
      raise Refused('is a zip archive, but not one of torch: it has no data.pkl')
    self._folder = found[0].removesuffix('data.pkl')

  def source(self, name: str) -> Source:
    """A file of the archive."""
    try:
      info = self._archive.getinfo(self._folder + name)
    except KeyError as error:
      raise Refused(f'is damaged: it has no {printable(name)}') from error
    self._budget -= info.file_size
    if info.compress_type != zipfile.ZIP_STORED or self._budget < 0:
      raise Refused(f'refuses {printable(name)} in it: compressed, or larger than the archive')
    return Source(self._archive.open(info), info.file_size)

  def byte_order(self) -> bytes:
    """What the archive says about it: nothing in older ones."""
    names = self._archive.namelist()
    return self.source('byteorder').read(3) if f'{self._folder}byteorder' in names else b'lit'


def _read_members(members: _Members) -> Tensors:
  if members.byte_order() != b'lit':
    raise Refused(_BIG_ENDIAN)
  content = pickles.load(members.source('data.pkl'), _table(), _Storages().by_identity)
  tensors = _state_dict(content)
  storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
  data = {key: members.source(f'data/{key}').read(of.size) for key, of in storages.items()}
  return {name: tensor.array(data[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_in_a_row(source: Source) -> Tensors:
  storages = _Storages()

  def load() -> object:
    return pickles.load(source, _table(), storages.by_identity)

  if load() != _MAGIC or load() != _PROTOCOL:
    raise Refused('is a pickle, but not one of torch')
  system = load()
  if type(system) is not dict or system.get('little_endian') is not True:
    raise Refused(_BIG_ENDIAN)
  tensors = _state_dict(load())
  keys = load()
  if type(keys) is not list or not all(type(key) is str for key in keys):
    raise Refused('is damaged: its list of storages is none')
  if sorted(keys) != sorted(storages):
    raise Refused('is damaged: it does not list its storages')
  data = {key: _counted(source, storages[key]) for key in keys}
  return {name: tensor.array(data[tensor.storage.key]) for name, tensor in tensors.items()}


def _counted(source: Source, storage: _Storage) -> bytes:
  """The bytes of a storage, behind their number."""
  (length,) = struct.unpack('<q', source.read(8))
  if length != storage.length:
    raise Refused(
      f'is damaged: a storage has {length} numbers in one place, {storage.length} in another'
    )
  return source.read(storage.size)


def _state_dict(content: object) -> dict[str, _Tensor]:
  """The tensors by name, wherever a training script put them."""
  if type(content) is dict:
    content = next((content[name] for name in _INSIDE if type(content.get(name)) is dict), content)
  if type(content) is not dict or not 0 < len(content) <= _MOST_TENSORS:
    raise Refused('holds no state dict: expected a mapping of names to tensors')
  for name, tensor in content.items():
    if type(name) is not str or not isinstance(tensor, _Tensor):
      raise Refused(f'holds no state dict: {printable(name)} is {printable(tensor)}, not a tensor')
  wrapped = all(name.startswith(_PARALLEL) for name in content)
  return {name.removeprefix(_PARALLEL) if wrapped else name: of for name, of in content.items()}
