"""What a pickle works on: a stack, and names that mean no more than a given table says.

The opcodes themselves are in `pickles.py`.
"""

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from nfnets.weights.sources import LONGEST_NAME, Refused, Source, printable

_MOST_ARGUMENTS = 16
_LARGEST_KEY = 10_000  # parameters are counted in the states of optimizers
_MOST_REMEMBERED = 1_000_000
_NOTHING = object()


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


def _check_key(key: object, target: dict) -> None:
  """Only keys that no one can make slow to hash, to compare or to find a place for, and once."""
  short = type(key) is str and len(key) <= LONGEST_NAME
  small = type(key) is int and abs(key) <= _LARGEST_KEY
  if not short and not small:
    raise Refused(f'refuses a dict with {printable(key)} as key: expected a name')
  if key in target:
    raise Refused(f'is damaged: a dict in it has {printable(key)} twice')


class Machine:
  """The stack, the marks on it and the memo: what the opcodes of a pickle do to them."""

  def __init__(self, source: Source, table: Table, persistent: Callable[[object], object] | None):
    self.source = source
    self.table = table
    self.persistent = persistent
    self.stack: list = []
    self.outer: list[list] = []  # the stack below each mark
    self.memo: list = []  # of a dict, a file could choose keys that all want one place

  def number(self, layout: str) -> int:
    """A number of the file."""
    return struct.unpack(layout, self.source.read(struct.calcsize(layout)))[0]

  def push(self, value: object) -> None:
    """Puts a value on the stack."""
    self.stack.append(value)

  def pop(self, count: int) -> list:
    """The topmost values, the first one first."""
    if len(self.stack) < count:
      raise Refused('is damaged: its pickle takes what it never made')
    values = self.stack[len(self.stack) - count :]
    del self.stack[len(self.stack) - count :]
    return values

  def mark(self) -> None:
    """Begins a new stack on top of this one."""
    self.outer.append(self.stack)
    self.stack = []

  def pop_to_mark(self) -> list:
    """The values above the last mark, which goes."""
    values, self.stack = self.stack, self.outer.pop()
    return values

  def tuple_to_mark(self) -> None:
    """Makes a tuple of them."""
    values = self.pop_to_mark()
    self.push(tuple(values))

  def pop_mark(self) -> None:
    """Drops them."""
    self.pop_to_mark()

  def extend(self, values: list) -> None:
    """Adds values to the list on top."""
    target = self.stack[-1]
    if type(target) is not list:
      raise Refused('is damaged: its pickle appends to what is no list')
    target.extend(values)

  def update(self, pairs: list) -> None:
    """Adds keys and values, in turn, to the dict on top."""
    target = self.stack[-1]
    if type(target) is not dict:
      raise Refused('is damaged: its pickle adds keys to what is no dict')
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
      _check_key(key, target)
      target[key] = value

  def look_up(self, module: object, name: object) -> Global:
    """What stands in for a name."""
    full = f'{module}.{name}' if type(module) is type(name) is str else ''
    if full not in self.table:
      raise Refused(
        f'refuses to load {printable(full)}: it is not among the names that weights need'
      )
    return self.table[full]

  def named_in_text(self) -> None:
    """Puts what the next two lines name on the stack."""
    module, name = (self.source.read_line().decode() for _ in range(2))
    self.push(self.look_up(module, name))

  def named_on_stack(self) -> None:
    """The same for a name on the stack."""
    self.push(self.look_up(*self.pop(2)))

  def instance(self) -> None:
    """A class of Python 1: refused, by its name if that is not in the table."""
    self.named_in_text()
    raise Refused(f'refuses to make an instance of {self.stack[-1].name}')

  def call(self) -> None:
    """Calls what stands in for a function."""
    function, arguments = self.pop(2)
    if not isinstance(function, Global) or function.call is None:
      name = function.name if isinstance(function, Global) else printable(function)
      raise Refused(f'refuses to call {name}')
    if type(arguments) is not tuple or len(arguments) > _MOST_ARGUMENTS:
      raise Refused(f'is damaged: its pickle calls {function.name} with no proper arguments')
    self.push(function.call(*arguments))

  def build(self) -> None:
    """Gives an object its state."""
    (state,) = self.pop(1)
    target = self.stack[-1]
    if isinstance(target, StandIn):
      target.build(state)
    elif type(target) is not dict:  # the attributes of an OrderedDict: nothing we need
      raise Refused(f'refuses to set the state of {printable(target)}')

  def outside(self) -> None:
    """Puts what a persistent id means on the stack."""
    (identity,) = self.pop(1)
    if self.persistent is None:
      raise Refused('refuses a persistent id: it refers to something outside the file')
    self.push(self.persistent(identity))

  def remember(self, index: int) -> None:
    """Keeps the value on top, which stays there."""
    if index >= _MOST_REMEMBERED:
      raise Refused(f'refuses a pickle that remembers more than {_MOST_REMEMBERED:,} values')
    self.memo.extend([_NOTHING] * (index + 1 - len(self.memo)))
    self.memo[index] = self.stack[-1]

  def recall(self, index: int) -> None:
    """Puts a value that was kept on the stack."""
    value = self.memo[index]
    if value is _NOTHING:
      raise Refused('is damaged: its pickle recalls what it never made')
    self.push(value)
