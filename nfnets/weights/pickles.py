"""Pickles read as data: a machine for their opcodes that can call nothing but a given table.

A pickle is a program; `pickle.load` runs it, and so runs whatever its author chose.  Here it makes
strings, numbers, bytes, lists, tuples and dicts by itself.  A name in it is looked up in a table of
stand-ins of ours, imports nothing, and is refused if it is not there.  The work is bounded as well:
the number of opcodes, and dict keys whose hashes are cheap.

This replaces `pickle.Unpickler`: `find_class` bounds what that one calls, not what it takes.  Some
files of a hundred bytes make it ask for gigabytes or hash for years.
"""

import pickle
import pickletools
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from nfnets.weights.sources import Refused, Source, printable

# The largest of the released files has 70,000.
MOST_OPCODES = 1_000_000
_MOST_ARGUMENTS = 16
_PROTOCOLS = range(2, 6)


class Global(NamedTuple):
  """What stands in for something a pickle refers to by name."""

  name: str
  call: Callable[..., object] | None = None
  """Called in its place, with arguments that may be anything; none where it is not to be called."""
  value: object = None
  """What it means to the stand-ins that are called with it."""


Table = Mapping[str, Global]
"""Dotted name -> stand-in."""


def table_of(*stand_ins: Global) -> dict[str, Global]:
  """The table that holds these."""
  return {stand_in.name: stand_in for stand_in in stand_ins}


class StandIn:
  """An object of a pickle that is made first and gets its state later."""

  def build(self, state: object) -> None:
    """Sets the state."""
    raise NotImplementedError


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
    return _Machine(source, table, persistent).run()
  except Refused:
    raise
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


def _checked_dict(pairs: Sequence[object]) -> dict:
  """A dict of keys and values in turn; only keys that no one can make slow to hash."""
  keys, values = pairs[::2], pairs[1::2]
  for key in keys:
    if type(key) is not str and not (type(key) is int and abs(key) < 2**31):
      raise Refused(f'refuses a dict with {printable(key)} as key: expected a name')
  return dict(zip(keys, values, strict=True))


class _Machine:
  """The stack, the marks on it and the memo."""

  def __init__(self, source: Source, table: Table, persistent: Callable[[object], object] | None):
    self.source = source
    self.table = table
    self.persistent = persistent
    self.stack: list = []
    self.outer: list[list] = []  # the stack below each mark
    self.memo: dict[int, object] = {}

  def run(self) -> object:
    start = self.source.read(min(2, self.source.remaining))
    if start[:1] != pickle.PROTO or start[-1] not in _PROTOCOLS:
      raise Refused('is no pickle of protocol 2 to 5')
    for _ in range(MOST_OPCODES):
      code = self.source.read(1)
      if code == pickle.STOP:
        return self.stack.pop()
      if code not in _ACTIONS:
        name = _NAMES.get(code, f'0x{code.hex()}')
        raise Refused(f'refuses the opcode {name}: no weights are written with it')
      _ACTIONS[code](self)
    raise Refused(f'refuses a pickle of more than {MOST_OPCODES:,} opcodes')

  def number(self, layout: str) -> int:
    return struct.unpack(layout, self.source.read(struct.calcsize(layout)))[0]

  def push(self, value: object) -> None:
    self.stack.append(value)

  def pop(self, count: int) -> list:
    """The topmost values, the first one first."""
    if len(self.stack) < count:
      raise Refused('is damaged: its pickle takes what it never made')
    values = self.stack[len(self.stack) - count :]
    del self.stack[len(self.stack) - count :]
    return values

  def mark(self) -> None:
    self.outer.append(self.stack)
    self.stack = []

  def pop_to_mark(self) -> list:
    values, self.stack = self.stack, self.outer.pop()
    return values

  def tuple_to_mark(self) -> None:
    values = self.pop_to_mark()
    self.push(tuple(values))

  def pop_mark(self) -> None:
    self.pop_to_mark()

  def extend(self, values: list) -> None:
    target = self.stack[-1]
    if type(target) is not list:
      raise Refused('is damaged: its pickle appends to what is no list')
    target.extend(values)

  def update(self, pairs: list) -> None:
    target = self.stack[-1]
    if type(target) is not dict:
      raise Refused('is damaged: its pickle adds keys to what is no dict')
    target.update(_checked_dict(pairs))

  def look_up(self, module: object, name: object) -> Global:
    full = f'{module}.{name}' if type(module) is type(name) is str else ''
    if full not in self.table:
      raise Refused(
        f'refuses to load {printable(full)}: it is not among the names that weights need'
      )
    return self.table[full]

  def named_in_text(self) -> None:
    module, name = (self.source.read_line().decode() for _ in range(2))
    self.push(self.look_up(module, name))

  def named_on_stack(self) -> None:
    self.push(self.look_up(*self.pop(2)))

  def instance(self) -> None:
    """A class of Python 1: refused, by its name if that is not in the table."""
    self.named_in_text()
    raise Refused(f'refuses to make an instance of {self.stack[-1].name}')

  def call(self) -> None:
    function, arguments = self.pop(2)
    if not isinstance(function, Global) or function.call is None:
      name = function.name if isinstance(function, Global) else printable(function)
      raise Refused(f'refuses to call {name}')
    if type(arguments) is not tuple or len(arguments) > _MOST_ARGUMENTS:
      raise Refused(f'is damaged: its pickle calls {function.name} with no proper arguments')
    self.push(function.call(*arguments))

  def build(self) -> None:
    (state,) = self.pop(1)
    target = self.stack[-1]
    if isinstance(target, StandIn):
      target.build(state)
    elif type(target) is not dict:  # the attributes of an OrderedDict: nothing we need
      raise Refused(f'refuses to set the state of {printable(target)}')

  def outside(self) -> None:
    (identity,) = self.pop(1)
    if self.persistent is None:
      raise Refused('refuses a persistent id: it refers to something outside the file')
    self.push(self.persistent(identity))

  def remember(self, index: int) -> None:
    self.memo[index] = self.stack[-1]


_NAMES = {opcode.code.encode('latin-1'): opcode.name for opcode in pickletools.opcodes}


Action = Callable[[_Machine], object]


def _integer(layout: str) -> Action:
  return lambda machine: machine.push(machine.number(layout))


def _bytes(layout: str) -> Action:
  return lambda machine: machine.push(machine.source.read(machine.number(layout)))


def _text(layout: str) -> Action:
  def action(machine: _Machine) -> None:
    machine.push(str(machine.source.read(machine.number(layout)), 'utf-8', 'surrogatepass'))

  return action


def _long(machine: _Machine) -> None:
  machine.push(int.from_bytes(machine.source.read(machine.number('<B')), 'little', signed=True))


def _tuple(count: int) -> Action:
  return lambda machine: machine.push(tuple(machine.pop(count)))


def _constant(value: object) -> Action:
  return lambda machine: machine.push(value)


def _remember(layout: str) -> Action:
  return lambda machine: machine.remember(machine.number(layout))


def _recall(layout: str) -> Action:
  return lambda machine: machine.push(machine.memo[machine.number(layout)])


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
  pickle.TUPLE: _Machine.tuple_to_mark,
  pickle.EMPTY_LIST: lambda machine: machine.push([]),
  pickle.APPEND: lambda machine: machine.extend(machine.pop(1)),
  pickle.APPENDS: lambda machine: machine.extend(machine.pop_to_mark()),
  pickle.EMPTY_DICT: lambda machine: machine.push({}),
  pickle.SETITEM: lambda machine: machine.update(machine.pop(2)),
  pickle.SETITEMS: lambda machine: machine.update(machine.pop_to_mark()),
  pickle.MARK: _Machine.mark,
  pickle.POP: lambda machine: machine.pop(1),
  pickle.POP_MARK: _Machine.pop_mark,
  pickle.MEMOIZE: lambda machine: machine.remember(len(machine.memo)),
  pickle.BINPUT: _remember('<B'),
  pickle.LONG_BINPUT: _remember('<I'),
  pickle.BINGET: _recall('<B'),
  pickle.LONG_BINGET: _recall('<I'),
  pickle.GLOBAL: _Machine.named_in_text,
  pickle.STACK_GLOBAL: _Machine.named_on_stack,
  pickle.INST: _Machine.instance,
  pickle.REDUCE: _Machine.call,
  pickle.BUILD: _Machine.build,
  pickle.BINPERSID: _Machine.outside,
}
