"""Our own weights files: safetensors that say which network they belong to.

A parameter is called `module:name`, as in `NFNet/~/stem_conv0:w`, and what a network keeps beside
its parameters (statistics of batch normalization) `state:module:name`; a Haiku module path is made
of identifiers, `/` and `~`, never of colons.  The metadata hold these texts:

  format          `nfnets`
  format_version  `1`
  model           name of the network, as `create_model` takes it
  options         what `create_model` was given besides, a JSON object
  provenance      where the numbers are from, in words
  preprocessing   how images are cut and normalized for it, a JSON object
  labels          names of its classes, a JSON list

The last two may be absent.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from nfnets.errors import InputError
from nfnets.weights import safetensors
from nfnets.weights.dtypes import is_floating
from nfnets.weights.sources import LONGEST_NAME, Refused, named, printable

Params = dict[str, dict[str, np.ndarray]]

_FORMAT = 'nfnets'
_VERSION = '1'
_SEPARATOR = ':'
_STATE = 'state'


@dataclasses.dataclass(frozen=True)
class Header:
  """What a file says about its parameters."""

  model: str
  """Name of the network."""
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  """Options of the network: whatever JSON can hold."""
  provenance: str = ''
  """Where the numbers are from."""
  preprocessing: Mapping[str, Any] | None = None
  """How images are cut and normalized: whatever JSON can hold."""
  labels: tuple[str, ...] | None = None
  """Names of the classes."""


class Contents(NamedTuple):
  """What a file holds."""

  params: Params
  """Module path -> {name: read-only array of a floating dtype}."""
  state: Params
  """Likewise, with counters of integers; empty for networks without batch normalization."""
  header: Header


def write(
  path: str | os.PathLike,
  params: Mapping[str, Mapping[str, np.ndarray]],
  header: Header,
  state: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> None:
  """Writes parameters to a file, which is there whole or not at all.

  Args:
    path: where, usually `*.safetensors`; an older file is replaced.
    params: module path -> {name: array of a floating dtype}; the dtypes are kept.
    header: what to say about them.
    state: what the network keeps beside its parameters, floats and counters.

  Raises:
    InputError: the file cannot be written, or something of the parameters has no place in it.
  """
  tensors = {}
  for module, name, array in _leaves(params, 'params'):
    if not is_floating(array.dtype):
      raise InputError(f'params: {module!r} {name!r} is of {array.dtype}, not of floats')
    tensors[f'{module}{_SEPARATOR}{name}'] = array
  for module, name, array in _leaves(state or {}, 'state'):
    tensors[_SEPARATOR.join((_STATE, module, name))] = array
  safetensors.write(path, tensors, _metadata(header))


def read(path: str | os.PathLike) -> Contents:
  """The parameters of a file, as they were written, and what it says about them.

  Raises:
    InputError: the file cannot be read, is damaged, or is none of ours.
  """
  tensors, metadata = safetensors.read(path)
  with named(path):
    contents = Contents({}, {}, _header(metadata))
    for key, tensor in tensors.items():
      match key.split(_SEPARATOR):
        case [module, name] if is_floating(tensor.dtype):
          contents.params.setdefault(module, {})[name] = tensor
        case ['state', module, name]:
          contents.state.setdefault(module, {})[name] = tensor
        case _:
          raise Refused(f'is damaged: {printable(key)} is no parameter')
    return contents


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


def _leaves(
  tree: Mapping[str, Mapping[str, np.ndarray]], argument: str
) -> Iterator[tuple[str, str, np.ndarray]]:
  for module, arrays in tree.items():
    if _SEPARATOR in module:
      raise InputError(f'{argument}: {module!r} has a colon, which no module path may have')
    for name, array in arrays.items():
      yield module, name, np.asarray(array)


def _metadata(header: Header) -> dict[str, str]:
  metadata = {
    'format': _FORMAT,
    'format_version': _VERSION,
    'model': header.model,
    'options': _to_json('options', dict(header.options)),
    'provenance': header.provenance,
  }
  if header.preprocessing is not None:
    metadata['preprocessing'] = _to_json('preprocessing', dict(header.preprocessing))
  if header.labels is not None:
    metadata['labels'] = _to_json('labels', list(header.labels))
  return metadata


def _to_json(field: str, value: object) -> str:
  try:
    return json.dumps(value, allow_nan=False)
  except (TypeError, ValueError) as error:
    raise InputError(f'{field}={value!r} cannot be written as JSON: {error}') from error


def _header(metadata: Mapping[str, str]) -> Header:
  if metadata.get('format') != _FORMAT:
    raise Refused('is no weights file of nfnets: its header does not say format=nfnets')
  if metadata.get('format_version') != _VERSION:
    version = printable(metadata.get('format_version', ''))
    raise Refused(f'has format_version={version}: this nfnets reads version {_VERSION}')
  if len(metadata.get('model', '')) > LONGEST_NAME:
    raise Refused(f'is damaged: no network is called {printable(metadata["model"])}')
  options = _from_json(metadata, 'options', '{}')
  preprocessing = _from_json(metadata, 'preprocessing', 'null')
  labels = _from_json(metadata, 'labels', 'null')
  if type(options) is not dict or 'model' not in metadata:
    raise Refused('is damaged: its header has no model or no options')
  if not all(option.isidentifier() for option in options):
    raise Refused('is damaged: the options in its header have names that are none')
  if type(preprocessing) not in (dict, type(None)) or not _is_labels(labels):
    raise Refused('is damaged: the preprocessing or the labels in its header are none')
  return Header(
    metadata['model'],
    options,
    metadata.get('provenance', ''),
    preprocessing,
    None if labels is None else tuple(labels),
  )


def _from_json(metadata: Mapping[str, str], field: str, default: str) -> Any:
  try:
    return json.loads(metadata.get(field, default))
  except (ValueError, RecursionError) as error:
    raise Refused(f'is damaged: the {field} in its header are no JSON') from error


def _is_labels(labels: Any) -> bool:
  return labels is None or (type(labels) is list and all(type(one) is str for one in labels))
