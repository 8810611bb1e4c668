"""Our own weights files: safetensors that say which network they belong to.

A tensor is called `module:name`, as in `NFNet/~/stem_conv0:w`; a Haiku module path is made of
identifiers, `/` and `~`, so the first colon ends it.  The metadata hold these texts:

  format          `nfnets`
  format_version  `1`
  model           name of the network, as `create_model` takes it
  options         what `create_model` was given besides, a JSON object
  provenance      where the numbers are from, in words
"""

import dataclasses
import json
import os
from collections.abc import Mapping

import numpy as np

from nfnets.errors import InputError
from nfnets.weights import safetensors
from nfnets.weights.dtypes import is_floating
from nfnets.weights.sources import Refused, named, printable

Params = dict[str, dict[str, np.ndarray]]

_FORMAT = 'nfnets'
_VERSION = '1'
_SEPARATOR = ':'


@dataclasses.dataclass(frozen=True)
class Header:
  """What a file says about its parameters."""

  model: str
  """Name of the network."""
  options: Mapping[str, object] = dataclasses.field(default_factory=dict)
  """Options of the network: whatever JSON can hold."""
  provenance: str = ''
  """Where the numbers are from."""


def write(
  path: str | os.PathLike, params: Mapping[str, Mapping[str, np.ndarray]], header: Header
) -> None:
  """Writes parameters to a file, which is there whole or not at all.

  Args:
    path: where, usually `*.safetensors`; an older file is replaced.
    params: module path -> {name: array of a floating dtype}; the dtypes are kept.
    header: what to say about them.

  Raises:
    InputError: the file cannot be written, or something of the parameters has no place in it.
  """
  tensors = {}
  for module, arrays in params.items():
    if _SEPARATOR in module:
      raise InputError(f'params: {module!r} has a colon, which no module path may have')
    for name, array in arrays.items():
      array = np.asarray(array)
      if not is_floating(array.dtype):
        raise InputError(f'params: {module!r} {name!r} is of {array.dtype}, not of floats')
      tensors[f'{module}{_SEPARATOR}{name}'] = array
  safetensors.write(path, tensors, _metadata(header))


def read(path: str | os.PathLike) -> tuple[Params, Header]:
  """The parameters of a file, as they were written, and what it says about them.

  Returns:
    Module path -> {name: read-only array of a floating dtype}, and the header.

  Raises:
    InputError: the file cannot be read, is damaged, or is none of ours.
  """
  tensors, metadata = safetensors.read(path)
  with named(path):
    header = _header(metadata)
    params: Params = {}
    for key, tensor in tensors.items():
      module, separator, name = key.partition(_SEPARATOR)
      if not separator or not is_floating(tensor.dtype):
        raise Refused(f'is damaged: {printable(key)} is no parameter')
      params.setdefault(module, {})[name] = tensor
    return params, header


def read_header(path: str | os.PathLike) -> Header:
  """What a file says about its parameters, without reading those.

  Raises:
    InputError: as `read`.
  """
  metadata = safetensors.read_metadata(path)
  with named(path):
    return _header(metadata)


def is_ours(path: str | os.PathLike) -> bool:
  """Whether a safetensors file is one of ours.

  Raises:
    InputError: it is no safetensors file.
  """
  return safetensors.read_metadata(path).get('format') == _FORMAT


def _metadata(header: Header) -> dict[str, str]:
  try:
    options = json.dumps(dict(header.options), allow_nan=False)
  except (TypeError, ValueError) as error:
    raise InputError(f'options={header.options!r} cannot be written as JSON: {error}') from error
  return {
    'format': _FORMAT,
    'format_version': _VERSION,
    'model': header.model,
    'options': options,
    'provenance': header.provenance,
  }


def _header(metadata: Mapping[str, str]) -> Header:
  if metadata.get('format') != _FORMAT:
    raise Refused('is no weights file of nfnets: its header does not say format=nfnets')
  if metadata.get('format_version') != _VERSION:
    version = printable(metadata.get('format_version', ''))
    raise Refused(f'has format_version={version}: this nfnets reads version {_VERSION}')
  try:
    options = json.loads(metadata.get('options', '{}'))
  except (ValueError, RecursionError) as error:
    raise Refused('is damaged: the options in its header are no JSON') from error
  if type(options) is not dict or 'model' not in metadata:
    raise Refused('is damaged: its header has no model or no options')
  return Header(metadata['model'], options, metadata.get('provenance', ''))
