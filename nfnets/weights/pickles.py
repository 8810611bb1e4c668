"""Pickles read as data: a machine for their opcodes that can call nothing but a given table.

A pickle is a program; `pickle.load` runs it, and so runs whatever its author chose.  Here it makes
strings, numbers, bytes, lists, tuples and dicts by itself.  A name in it is looked up in a table of
stand-ins of ours, imports nothing, and is refused if it is not there.  The work is bounded as well:
the number of opcodes, and dict keys that are cheap to hash and to compare.

This replaces `pickle.Unpickler`: `find_class` bounds what that one calls, not what it takes.  Some
files of a hundred bytes make it ask for gigabytes or hash for years.
"""

import pickle
import pickletools
from collections.abc import Callable

from nfnets.weights.machine import Machine, Table
from nfnets.weights.sources import Refused, Source

# The largest network has 1,457 arrays, and an array takes about 60; optimizers keep as many again.
MOST_OPCODES = 500_000
_PROTOCOLS = range(2, 6)


def load(
  source: Source, table: Table, persistent: Callable[[object], object] | None = None
) -> object:
  """Reads one pickle of protocol 2 to 5 and leaves `source` behind its end.

  Args:
    source: where the pickle starts.
    table: the names it may use.
    persistent: what stands in for an object that is kept outside the pickle, by its id.

  Raises:
    Refused: it is no such pickle, is damaged, or uses a name that is not in the table.
  """
  try:
    return _run(Machine(source, table, persistent))
  # Opcodes in an order that no pickler writes, or a stand-in called with what it does not take.
  except (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
  ) as error:
    raise Refused(f'is damaged: its pickle makes no sense ({type(error).__name__})') from error


def _run(machine: Machine) -> object:
  source = machine.source
  start = source.read(min(2, source.remaining))
  if start[:1] != pickle.PROTO or start[-1] not in _PROTOCOLS:
    raise Refused('is no pickle of protocol 2 to 5')
  for _ in range(MOST_OPCODES):
    code = source.read(1)
    if code == pickle.STOP:
      return machine.stack.pop()
    if code not in _ACTIONS:
      name = _NAMES.get(code, f'0x{code.hex()}')
      raise Refused(f'refuses the opcode {name}: no weights are written with it')
    _ACTIONS[code](machine)
  raise Refused(f'refuses a pickle of more than {MOST_OPCODES:,} opcodes')


_NAMES = {opcode.code.encode('latin-1'): opcode.name for opcode in pickletools.opcodes}


Action = Callable[[Machine], object]


def _integer(layout: str) -> Action:
  return lambda machine: machine.push(machine.number(layout))


def _bytes(layout: str) -> Action:
  return lambda machine: machine.push(machine.source.read(machine.number(layout)))


def _text(layout: str) -> Action:
  def action(machine: Machine) -> None:
    machine.push(str(machine.source.read(machine.number(layout)), 'utf-8', 'surrogatepass'))

  return action


def _long(machine: Machine) -> None:
  machine.push(int.from_bytes(machine.source.read(machine.number('<B')), 'little', signed=True))


def _tuple(count: int) -> Action:
  return lambda machine: machine.push(tuple(machine.pop(count)))


def _constant(value: object) -> Action:
  return lambda machine: machine.push(value)


def _remember(layout: str) -> Action:
  return lambda machine: machine.remember(machine.number(layout))


def _recall(layout: str) -> Action:
  return lambda machine: machine.recall(machine.number(layout))


_ACTIONS: dict[bytes, Action] = {
  pickle.FRAME: lambda machine: machine.number('<Q'),  # where to read ahead to: we do not
  pickle.NONE: _constant(None),
  pickle.NEWTRUE: _constant(True),
  pickle.NEWFALSE: _constant(False),
  pickle.BININT: _integer('<i'),
  pickle.BININT1: _integer('<B'),
  pickle.BININT2: _integer('<H'),
  pickle.BINFLOAT: _integer('>d'),
  pickle.LONG1: _long,
  pickle.SHORT_BINUNICODE: _text('<B'),
  pickle.BINUNICODE: _text('<I'),
  pickle.BINUNICODE8: _text('<Q'),
  pickle.SHORT_BINBYTES: _bytes('<B'),
  pickle.BINBYTES: _bytes('<I'),
  pickle.BINBYTES8: _bytes('<Q'),
  pickle.BYTEARRAY8: _bytes('<Q'),
  pickle.EMPTY_TUPLE: _constant(()),
  pickle.TUPLE1: _tuple(1),
  pickle.TUPLE2: _tuple(2),
  pickle.TUPLE3: _tuple(3),
  pickle.TUPLE: Machine.tuple_to_mark,
  pickle.EMPTY_LIST: lambda machine: machine.push([]),
  pickle.APPEND: lambda machine: machine.extend(machine.pop(1)),
  pickle.APPENDS: lambda machine: machine.extend(machine.pop_to_mark()),
  pickle.EMPTY_DICT: lambda machine: machine.push({}),
  pickle.SETITEM: lambda machine: machine.update(machine.pop(2)),
  pickle.SETITEMS: lambda machine: machine.update(machine.pop_to_mark()),
  pickle.MARK: Machine.mark,
  pickle.POP: lambda machine: machine.pop(1),
  pickle.POP_MARK: Machine.pop_mark,
  pickle.MEMOIZE: lambda machine: machine.remember(len(machine.memo)),
  pickle.BINPUT: _remember('<B'),
  pickle.LONG_BINPUT: _remember('<I'),
  pickle.BINGET: _recall('<B'),
  pickle.LONG_BINGET: _recall('<I'),
  pickle.GLOBAL: Machine.named_in_text,
  pickle.STACK_GLOBAL: Machine.named_on_stack,
  pickle.INST: Machine.instance,
  pickle.REDUCE: Machine.call,
  pickle.BUILD: Machine.build,
  pickle.BINPERSID: Machine.outside,
}
