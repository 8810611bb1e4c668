"""Looking something up by a name that a person typed."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from nfnets.errors import InputError

T = TypeVar('T')


def look_up(name: str, table: Mapping[str, T], *, argument: str) -> T:
  """`table[name]`, or an `InputError` that proposes the nearest names of the table."""
  if name in table:
    return table[name]
  near = difflib.get_close_matches(str(name), table, n=3, cutoff=0.5)
  right = f'did you mean {", ".join(near)}?' if near else f'it is one of {", ".join(sorted(table))}'
  raise InputError(f'{argument}={name!r} is not known: {right}')
