"""What was found, kept as JSON: a file for every claim and scale, whole after every cell."""

import datetime
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from nfnets import __version__
from nfnets.claims.claim import Claim, Measured, Scale
from nfnets.disk import write_whole
from nfnets.errors import InputError

_NUMBER = 'number'  # {"number": "nan"}: JSON has no numbers that are not finite


class Found(NamedTuple):
  """What one cell found, and with what."""

  cell: str
  """Its `repr`: another one, and the cell is to be measured anew."""
  measured: Measured
  seconds: float
  date: str
  nfnets: str
  """Version."""
  jax: str
  """Version."""
  device: str
  """Kind of device, as JAX calls it."""


def found(cell: object, measured: Measured, seconds: float) -> Found:
  """What a cell found just now, as it will be read.

  Raises:
    TypeError: it holds something other than numbers, texts, and lists of them.
  """
  return Found(
    cell=repr(cell),
    measured=_decoded(_encoded(measured)),
    seconds=round(seconds, 2),
    date=datetime.date.today().isoformat(),
    nfnets=__version__,
    jax=jax.__version__,
    device=jax.devices()[0].device_kind,
  )


def results_file(folder: Path, claim: Claim, scale: Scale) -> Path:
  """Where the results of a claim lie: NAME.json, or NAME.gpu.json."""
  return folder / f'{_stem(claim, scale)}.json'


def picture_file(folder: Path, claim: Claim, scale: Scale) -> Path:
  """Where its picture lies: NAME.png, or NAME.gpu.png."""
  return folder / f'{_stem(claim, scale)}.png'


def _stem(claim: Claim, scale: Scale) -> str:
  return claim.name if scale == Scale.CPU else f'{claim.name}.{scale}'


def write_results(path: Path, claim: Claim, scale: Scale, kept: Mapping[str, Found]) -> None:
  """Writes them whole or not at all, a line for each cell in the order of the claim.

  Raises:
    OSError: they cannot be written; what was there stays.
  """
  lines = ',\n'.join(
    f'    {json.dumps(name)}: {json.dumps(_entry(kept[name]), allow_nan=False)}'
    for name in claim.settings[scale].cells
    if name in kept
  )
  head = f'  "claim": {json.dumps(claim.name)},\n  "scale": {json.dumps(scale)},\n'
  write_whole(path, f'{{\n{head}  "cells": {{\n{lines}\n  }}\n}}\n'.encode())


def read_results(path: Path, claim: Claim, scale: Scale) -> dict[str, Found]:
  """What was found for those cells that have not changed since; nothing where there is no file.

  Raises:
    InputError: the file is damaged, or it is of something else.
  """
  if not path.exists():
    return {}
  try:
    whole = json.loads(path.read_text(encoding='utf-8'))
    if (whole['claim'], whole['scale']) != (claim.name, scale):
      raise ValueError(f'results of {whole["claim"]!r}, {whole["scale"]!r}')
    kept = {name: _from_entry(entry) for name, entry in whole['cells'].items()}
  except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
    raise InputError(
      f'{path} holds no results of {claim.name}, --scale={scale} '
      f'({type(error).__name__}: {error}); remove it, and they are measured anew'
    ) from error
  return {
    name: kept[name]
    for name, cell in claim.settings[scale].cells.items()
    if name in kept and kept[name].cell == repr(cell)
  }


def _entry(one: Found) -> dict[str, Any]:
  return one._asdict() | {'measured': _encoded(one.measured)}


def _from_entry(entry: Mapping[str, Any]) -> Found:
  one = Found(**{**entry, 'measured': _decoded(entry['measured'])})
  texts = (one.cell, one.date, one.nfnets, one.jax, one.device)
  if not all(isinstance(text, str) for text in texts) or not isinstance(one.measured, dict):
    raise ValueError('a cell with other fields')
  return one._replace(seconds=float(one.seconds))


def _encoded(measured: Measured) -> dict[str, Any]:
  return {name: _encoded_value(value) for name, value in measured.items()}


def _encoded_value(value: Any) -> Any:
  """As JSON has it; arrays become lists."""
  value = value.tolist() if hasattr(value, 'tolist') else value
  if isinstance(value, (list, tuple)):
    return [_encoded_value(one) for one in value]
  if isinstance(value, float) and not math.isfinite(value):
    return {_NUMBER: str(value)}
  if isinstance(value, (str, bool, int, float)):
    return value
  raise TypeError(f'a cell found {value!r}; kept are numbers, texts, and lists of them')


def _decoded(measured: Mapping[str, Any]) -> dict[str, Any]:
  return {name: _decoded_value(value) for name, value in measured.items()}


def _decoded_value(value: Any) -> Any:
  if isinstance(value, list):
    return [_decoded_value(one) for one in value]
  return float(value[_NUMBER]) if isinstance(value, dict) else value
