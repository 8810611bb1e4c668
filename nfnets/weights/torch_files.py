"""State dicts that torch wrote, read without torch and without running anything in them.

Since 1.6 torch writes a zip archive with a pickle and a file for each storage; before, and when
told to, five pickles in a row with the storages behind them.  In both the pickle describes tensors
as windows on storages: an offset, sizes and strides.
"""

import dataclasses
import math
import os
import struct
from typing import TypeGuard

import ml_dtypes
import numpy as np

from nfnets.weights import pickles, reconstructors
from nfnets.weights.archives import opened_archive
from nfnets.weights.machine import Global, Table, table_of
from nfnets.weights.shapes import is_shape
from nfnets.weights.sources import LONGEST_NAME, Refused, Source, opened, printable

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
    start = source.stream.read(2)
    source.stream.seek(0)
    return _read_archive(source) if start == b'PK' else _read_in_a_row(source)


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
  if not _is_count(offset):
    raise Refused('is damaged: a tensor in it has no proper offset')
  if not _are_counts(sizes) or not _are_counts(strides) or not is_shape(sizes):
    raise Refused('is damaged: a tensor in it has no proper sizes or strides')
  last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
  # No more numbers than are stored: with a stride of 0 a size of 2**40 would fit as well.
  if 0 not in sizes and max(last + 1, math.prod(sizes)) > storage.length:
    raise Refused('is damaged: a tensor in it is larger than its storage')
  return _Tensor(storage, offset, sizes, strides)


def _are_counts(numbers: object) -> TypeGuard[tuple[int, ...]]:
  return type(numbers) is tuple and all(_is_count(number) for number in numbers)


def _is_count(number: object) -> TypeGuard[int]:
  return type(number) is int and 0 <= number < 2**40


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
      case ('storage', Global(value=np.dtype() as dtype), str(key), str(), length, *view):
        proper = _is_count(length) and len(key) <= LONGEST_NAME and view in ([], [None])
        storage = _Storage(key, dtype, length)
        if proper and self.setdefault(key, storage) == storage:
          return storage
    raise Refused('refuses a storage that is not described as torch does')


def _read_archive(source: Source) -> Tensors:
  with opened_archive(source) as archive:
    folder = _folder(archive.names)
    # Older ones do not say in which order their bytes are.
    order = f'{folder}byteorder'
    if order in archive.names and archive.source(order).read(3) != b'lit':
      raise Refused(_BIG_ENDIAN)
    pickle = archive.source(f'{folder}data.pkl')
    tensors = _state_dict(pickles.load(pickle, _table(), _Storages().by_identity))
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    data = {
      key: archive.source(f'{folder}data/{key}').read(of.size) for key, of in storages.items()
    }
    return {name: tensor.array(data[tensor.storage.key]) for name, tensor in tensors.items()}


def _folder(names: list[str]) -> str:
  """The one folder that torch puts everything in, with a slash behind it."""
  found = [name for name in names if name.endswith('/data.pkl')]
  if len(found) != 1:
    raise Refused('is a zip archive, but not one of torch: it has no data.pkl')
  return found[0].removesuffix('data.pkl')


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
  # Each is looked up before they are compared with one another: those known are short.
  if not all(key in storages for key in keys) or len(set(keys)) < max(len(keys), len(storages)):
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
