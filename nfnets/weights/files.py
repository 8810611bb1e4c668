"""Weights files of any kind, told apart by their first bytes."""

import os
from typing import Literal, NamedTuple

from nfnets.weights import deepmind, own, timm
from nfnets.weights.own import Header, Params
from nfnets.weights.sources import Refused, named, opened

Kind = Literal['nfnets', 'timm', 'deepmind']

_ZIP = b'PK\x03\x04'
_PICKLE = b'\x80'
# torch's older files begin with a pickled number of their own.
_OLD_TORCH = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'


class Weights(NamedTuple):
  """The parameters of a network by our names."""

  params: Params
  state: Params
  """What the network keeps beside its parameters; only our own files hold any."""
  header: Header | None
  """What one of our own files says about itself."""


def kind_of(path: str | os.PathLike) -> Kind:
  """Whose file it is: ours, timm's (safetensors or what torch saves) or DeepMind's.

  Raises:
    InputError: it cannot be read, or is none of these.
  """
  with opened(path) as source:
    start = source.read(min(len(_OLD_TORCH), source.remaining))
  if start[8:9] == b'{':
    return 'nfnets' if own.is_ours(path) else 'timm'
  if start.startswith((_ZIP, _OLD_TORCH)):
    return 'timm'
  if start.startswith(_PICKLE):
    return 'deepmind'
  with named(path):
    raise Refused('is no weights file: neither safetensors nor what torch or DeepMind saved')


def read(path: str | os.PathLike, root: str) -> Weights:
  """The parameters of a file of any kind.

  Args:
    path: the file.
    root: name of the network's module, which timm's files do not tell: `NFNet`, ...

  Raises:
    InputError: the file cannot be read, is damaged, or holds something else.
  """
  match kind_of(path):
    case 'nfnets':
      return Weights(*own.read(path))
    case 'timm':
      return Weights(timm.read(path, root), {}, None)
    case 'deepmind':
      return Weights(deepmind.read(path), {}, None)
