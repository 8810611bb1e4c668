"""What pickles are made of, and every way in which one can have something called."""

import pickle
import struct
from collections.abc import Callable


def begun(protocol: int = 4) -> bytes:
  return pickle.PROTO + bytes([protocol])


def text(value: str) -> bytes:
  data = value.encode('utf-8', 'surrogatepass')
  return pickle.BINUNICODE + struct.pack('<I', len(data)) + data


def number(value: int) -> bytes:
  return pickle.BININT + struct.pack('<i', value)


def put(index: int) -> bytes:
  return pickle.LONG_BINPUT + struct.pack('<I', index)


def get(index: int) -> bytes:
  return pickle.LONG_BINGET + struct.pack('<I', index)


# What an attacker would like to have called, and with what.
CALLABLES = (
  ('os', 'system', 'touch ran'),
  ('posix', 'system', 'touch ran'),
  ('builtins', 'eval', 'open("ran", "w")'),
  ('builtins', 'exec', 'open("ran", "w")'),
  ('builtins', 'compile', '1'),
  ('builtins', 'open', 'ran'),
  ('builtins', 'getattr', 'os'),
  ('builtins', '__import__', 'antigravity'),
  ('__builtin__', 'execfile', 'ran'),
  ('importlib', 'import_module', 'antigravity'),
  ('runpy', 'run_path', 'ran'),
  ('subprocess', 'Popen', 'touch ran'),
  ('ctypes', 'CDLL', 'libc.so.6'),
  ('socket', 'create_connection', 'localhost'),
  ('pickle', 'loads', 'cos\nsystem\n.'),
  ('copyreg', '_reconstructor', 'x'),
  ('functools', 'partial', 'x'),
  ('operator', 'attrgetter', 'system'),
  ('numpy', 'load', '/etc/passwd'),
  ('numpy', 'fromfile', '/dev/zero'),
  ('numpy', 'zeros', 'f8'),
  ('numpy.core.multiarray', 'fromfile', '/dev/zero'),
  ('numpy.f2py.diagnose', 'run_command', 'touch ran'),
  ('dill._dill', '_eval_repr', 'open("ran", "w")'),
  ('dill._dill', '_import_module', 'antigravity'),
  ('torch', 'load', 'x'),
  ('haiku._src.data_structures', 'to_haiku_dict', 'x'),
)


def in_text(module: str, name: str) -> bytes:
  return pickle.GLOBAL + f'{module}\n{name}\n'.encode()


def on_stack(module: str, name: str) -> bytes:
  return text(module) + text(name) + pickle.STACK_GLOBAL


# Every opcode that can call something, or get at what can.
WAYS: dict[str, Callable[[str, str, bytes], bytes]] = {
  'reduce': lambda module, name, given: in_text(module, name) + given + b'\x85R',
  'reduce by stack': lambda module, name, given: on_stack(module, name) + given + b'\x85R',
  'reduce dotted': lambda module, name, given: (
    on_stack(module, f'{name}.__call__') + given + b'\x85R'
  ),
  'reduce recalled': lambda module, name, given: (
    in_text(module, name) + put(7) + b'0' + get(7) + given + b'\x85R'
  ),
  'inst': lambda module, name, given: b'(' + given + b'i' + f'{module}\n{name}\n'.encode(),
  'obj': lambda module, name, given: b'(' + in_text(module, name) + given + b'o',
  'newobj': lambda module, name, given: in_text(module, name) + given + b'\x85\x81',
  'newobj with names': lambda module, name, given: in_text(module, name) + given + b'\x85}\x92',
  'build': lambda module, name, given: (
    b'}}' + text('__setstate__') + in_text(module, name) + b'sb' + given + b'b'
  ),
  'extension 1': lambda *_: b'\x82\x01)R',
  'extension 2': lambda *_: b'\x83\x01\x00)R',
  'extension 4': lambda *_: b'\x84\x01\x00\x00\x00)R',
  'persistent id': lambda module, name, _: b'P' + f'{module}.{name}\n'.encode(),
  'persistent id on stack': lambda _, __, given: given + b'Q',
}

DTYPE = in_text('numpy', 'dtype') + text('f4') + b'\x89\x88\x87R'
LITTLE_ENDIAN = (
  b'(K\x03' + text('<') + b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'  # the state of a dtype
)
EMPTY_ARRAY = (
  in_text('numpy.core.multiarray', '_reconstruct')
  + b'('
  + in_text('numpy', 'ndarray')
  + b'K\x00\x85C\x01btR'
)


def array(
  shape: bytes = b'K\x01\x85', dtype: bytes = DTYPE + LITTLE_ENDIAN, data: bytes = b'C\x04abcd'
) -> bytes:
  """An array of one number, or with other parts."""
  return EMPTY_ARRAY + b'(K\x01' + shape + dtype + b'\x89' + data + b'tb'


def params(leaf: bytes) -> bytes:
  """The parameters of a network with one array."""
  return b'}' + text('m') + b'}' + text('w') + leaf + b'ss'
