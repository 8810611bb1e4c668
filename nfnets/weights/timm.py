"""timm's weights files, in both directions: safetensors, and what torch saves."""

import os
from collections.abc import Mapping

import numpy as np

from nfnets.errors import InputError
from nfnets.weights import safetensors, timm_names, torch_files
from nfnets.weights.sources import Refused, named, opened, shown

Params = dict[str, dict[str, np.ndarray]]


def read(path: str | os.PathLike, root: str) -> Params:
  """The parameters of a timm network, with our names and layouts.

  Args:
    path: a file of timm's or of somebody who trained with timm.
    root: name of our network's module: `NFNet`, `NF_ResNet` or `NF_RegNet`.

  Returns:
    Module path -> {name: array}.

  Raises:
    InputError: the file cannot be read, is damaged, holds anything but tensors, or these are not
      those of such a network.
  """
  tensors = read_tensors(path)
  try:
    return timm_names.from_timm(tensors, root)
  except InputError as error:
    raise InputError(f'{shown(path)}: {error}') from error


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The tensors of a file by timm's names; what kind of file it is shows in its first bytes.

  Raises:
    InputError: as `read`, but for the names.
  """
  with opened(path) as source:
    start = source.read(min(9, source.remaining))
  if start[8:] == b'{':
    return safetensors.read(path)[0]
  if start.startswith((b'PK', b'\x80')):
    return torch_files.read(path)
  with named(path):
    raise Refused('is neither a safetensors file nor one that torch saved')


def write(path: str | os.PathLike, params: Mapping[str, Mapping[str, np.ndarray]]) -> None:
  """Writes parameters as a safetensors file that timm loads.

  Args:
    path: where, usually `model.safetensors`; an older file is replaced.
    params: module path -> {name: array}.

  Raises:
    InputError: the file cannot be written, or a parameter has no name in timm.
  """
  # Without this word the library that timm reads with takes a file for one of another framework.
  safetensors.write(path, timm_names.to_timm(params), {'format': 'pt'})
