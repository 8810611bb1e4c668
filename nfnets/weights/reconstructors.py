"""What NumPy, JAX, Haiku and dill write into pickles for arrays and mappings, and our stand-ins.

None of those packages is imported but NumPy: the stand-ins take the arguments that the original
functions get, check them, and make NumPy arrays and plain dicts.
"""

import math
from collections.abc import Callable

import ml_dtypes
import numpy as np

from nfnets.weights.machine import Global, StandIn, Table, table_of
from nfnets.weights.shapes import is_shape
from nfnets.weights.sources import Refused, printable

_NUMBERS = ('b1', *(f'{kind}{size}' for kind in 'iu' for size in (1, 2, 4, 8)), 'f2', 'f4', 'f8')


def make_array(data: object, dtype: np.dtype, shape: object, order: str = 'C') -> np.ndarray:
  """The array that bytes hold, without a copy: read-only.

  Raises:
    Refused: the shape is none, or asks for more or fewer bytes than there are.
  """
  if type(data) is not bytes:
    raise Refused('refuses an array of Python objects: weights are numbers')
  if type(shape) is not tuple or not is_shape(shape):
    raise Refused('is damaged: an array in it has no proper shape')
  if math.prod(shape) * dtype.itemsize != len(data):
    raise Refused(f'is damaged: an array in it has {len(data)} bytes, which is not what it needs')
  return np.ndarray(shape, dtype, data, order='F' if order == 'F' else 'C')


class Array(StandIn):
  """A NumPy array, once its state has come."""

  def __init__(self) -> None:
    self.array: np.ndarray | None = None

  def build(self, state: object) -> None:
    """Takes what `numpy.ndarray.__setstate__` takes."""
    if type(state) is not tuple or len(state) != 5:
      raise Refused('is damaged: an array in it has no proper state')
    _, shape, dtype, is_fortran, data = state
    self.array = make_array(data, _dtype_of(dtype), shape, 'F' if is_fortran is True else 'C')


class Dtype(StandIn):
  """A NumPy dtype; its byte order comes later."""

  def __init__(self, dtype: np.dtype):
    self.dtype = dtype

  def build(self, state: object) -> None:
    """Takes what `numpy.dtype.__setstate__` takes."""
    order = state[1] if type(state) is tuple and len(state) > 1 else None
    if order == '>':
      self.dtype = self.dtype.newbyteorder('>')
    elif order not in ('<', '|', '='):
      raise Refused('is damaged: a dtype in it has no byte order')


def _dtype_of(dtype: object) -> np.dtype:
  if not isinstance(dtype, Dtype):
    raise Refused('is damaged: an array in it has no dtype')
  return dtype.dtype


def _dtype(kind: object, *_: object) -> Dtype:
  if isinstance(kind, Global) and isinstance(kind.value, np.dtype):
    return Dtype(kind.value)
  if type(kind) is not str or kind not in _NUMBERS:
    raise Refused(f'refuses an array of dtype {printable(kind)}: weights are numbers')
  return Dtype(np.dtype(kind))


def _empty_array(kind: object, *_: object) -> Array:
  if kind is not _NDARRAY:
    raise Refused('refuses an array of another class than numpy.ndarray')
  return Array()


def _array_from_buffer(data: object, dtype: object, shape: object, order: object) -> Array:
  made = Array()
  made.build((1, shape, dtype, order == 'F', data))
  return made


def _scalar(dtype: object, data: object) -> Array:
  return _array_from_buffer(data, dtype, (), 'C')


def _array_with_state(make: object, arguments: object, state: object, *_: object) -> Array:
  """JAX and dill wrap what NumPy would have written."""
  if not isinstance(make, Global) or make.call is not _empty_array or type(arguments) is not tuple:
    raise Refused('refuses to make an array by another function than that of NumPy')
  made = _empty_array(*arguments)
  made.build(state)
  return made


def _mapping(content: object = None) -> dict:
  """The dict that a mapping is made of, itself; a new one where that comes later."""
  if content is None:
    return {}
  if type(content) is not dict:
    raise Refused('refuses a mapping that is not made of a dict')
  return content


def _no_bytes() -> bytes:
  """Protocol 2 calls `bytes` where there are none."""
  return b''


def _encoder() -> Callable[[object, object], bytes]:
  """`_codecs.encode` for Latin-1, as protocol 2 writes bytes; one text gives one."""
  known: dict[int, tuple[str, bytes]] = {}  # by identity: comparing long texts can take hours

  def call(text: object, encoding: object = 'utf-8') -> bytes:
    if type(text) is not str or encoding not in ('latin1', 'latin-1'):
      raise Refused('refuses to encode anything but bytes written as text')
    if id(text) not in known:
      known[id(text)] = text, text.encode('latin-1')
    return known[id(text)][1]

  return call


def _type_by_name(name: object) -> Global:
  """dill names the types of Python itself by words of its own."""
  if type(name) is not str or name not in ('bytes', 'BytesType'):
    raise Refused(f'refuses the type {printable(name)} of dill')
  return _BYTES


_NDARRAY = Global('numpy.ndarray')
_BYTES = Global('builtins.bytes', _no_bytes)
_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

# New and old places of the same things.
_NUMPY = ('numpy.core', 'numpy._core')
_ARRAYS_WITH_STATE = (
  'dill.dill._create_array',
  'dill._dill._create_array',
  'jax._src.array._reconstruct_array',
  'jax._src.device_array.reconstruct_device_array',
  'jax.interpreters.xla.reconstruct_device_array',
)
_BFLOAT16_NAMES = (
  'ml_dtypes.bfloat16',
  'ml_dtypes._ml_dtypes_ext.bfloat16',
  'jaxlib.xla_extension.bfloat16',
  'jax._src.numpy.lax_numpy.bfloat16',
  'jax.numpy.bfloat16',
)
_MAPPINGS = (
  'collections.OrderedDict',
  'haiku._src.data_structures.FlatMap',
  'haiku._src.data_structures.FlatMapping',
  'haiku._src.data_structures.frozendict',
  'haiku._src.data_structures.FrozenDict',
)


def table() -> Table:
  """Every name that a pickle of arrays in mappings needs; for one pickle."""
  return table_of(
    _NDARRAY,
    Global('numpy.dtype', _dtype),
    Global('_codecs.encode', _encoder()),
    _BYTES,
    Global('__builtin__.bytes', _no_bytes),
    Global('dill._dill._load_type', _type_by_name),
    *(Global(f'{numpy}.multiarray._reconstruct', _empty_array) for numpy in _NUMPY),
    *(Global(f'{numpy}.multiarray.scalar', _scalar) for numpy in _NUMPY),
    *(Global(f'{numpy}.numeric._frombuffer', _array_from_buffer) for numpy in _NUMPY),
    *(Global(name, _array_with_state) for name in _ARRAYS_WITH_STATE),
    *(Global(name, value=_BFLOAT16) for name in _BFLOAT16_NAMES),
    *(Global(name, _mapping) for name in _MAPPINGS),
  )
