"""What all processes of a run must know of each other.

Every process must come to each of these functions, in the same order.  With one process they cost
nothing.
"""

import collections
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from nfnets.errors import InputError, RunError

_T = TypeVar('_T')
_SHOWN = 60  # characters of a value that are worth telling


def check_devices() -> None:
  """Refuses processes with unequal numbers of devices, which could not even talk to each other.

  Raises:
    InputError: some have more than others; on every process.
  """
  counts = collections.Counter(device.process_index for device in jax.devices())
  least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
  if counts[least] != counts[most]:
    raise InputError(
      f'process {least} has {counts[least]} device(s) and process {most} has {counts[most]}: all '
      'processes of a run need equally many'
    )


def checksum(tree: Any) -> int:
  """Of the bytes of all arrays, for `check_same`."""
  total = 0
  for leaf in jax.tree.leaves(tree):
    total = zlib.crc32(np.asarray(leaf).tobytes(), total)
  return total


def gather(text: str) -> list[str]:
  """The texts of all processes, in the order of their numbers."""
  if jax.process_count() == 1:
    return [text]
  mine = np.frombuffer(text.encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.int32(len(mine)))
  room = 1 << int(lengths.max()).bit_length()  # powers of two: few programs are compiled
  rows = multihost_utils.process_allgather(np.pad(mine, (0, room - len(mine))))
  return [row[:length].tobytes().decode() for row, length in zip(rows, lengths, strict=True)]


def together(function: Callable[[], _T]) -> _T:
  """Calls `function`; where it fails on one process, all raise.

  Raises:
    InputError: what `function` raised, here or on another process.
    RunError: it failed on another process in another way.
  """
  if jax.process_count() == 1:
    return function()
  try:
    result, failure = function(), None
  except Exception as error:
    result, failure = None, error
  told = gather(_told(failure))
  if failure is not None:
    raise failure
  for process, text in enumerate(told):
    if text:
      kind, message = json.loads(text)
      raise (InputError if kind == 'input' else RunError)(f'process {process}: {message}')
  return result  # pyright: ignore[reportReturnType]


def check_same(facts: Mapping[str, Any]) -> None:
  """Compares what must be the same on every process: JSON values, by their names.

  Raises:
    InputError: they differ; on every process.
  """
  first, *others = map(json.loads, gather(json.dumps(facts)))
  for process, other in enumerate(others, 1):
    different = [_difference(name, first[name], other[name]) for name in first
                 if first[name] != other[name]]  # fmt: skip
    if different:
      raise InputError(
        f'process {process} does another run than process 0: {", ".join(different)}; start all '
        'with the same command on the same data'
      )


def _told(failure: Exception | None) -> str:
  if failure is None:
    return ''
  if isinstance(failure, InputError):
    return json.dumps(['input', str(failure)])
  return json.dumps(['run', f'{type(failure).__name__}: {failure}'])


def _difference(name: str, first: Any, other: Any) -> str:
  values = f'{name}={other!r} and not {first!r}'
  return values if len(values) <= _SHOWN else name
