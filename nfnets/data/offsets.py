"""The places of all records of a TFRecord folder, found once and kept beside the data."""

import logging
import os
import tempfile
import zipfile
from collections.abc import Mapping
from concurrent import futures

import numpy as np

from nfnets.data import shards

_CACHE = '.nfnets_offsets.npz'
_THREADS = 8  # the walk waits for the disk more than it computes
_LOG = logging.getLogger(__name__)

# Per file name: its size and time of last writing, and what `index_tfrecords` found.
_Known = dict[str, tuple[tuple[int, int], np.ndarray]]


def find_offsets(folder: str, expected: Mapping[str, int]) -> dict[str, np.ndarray]:
  """The index (`shards.index_tfrecords`) of each file.

  What was found is kept in `folder`, where that can be written, and found anew for a file whose
  size or time of last writing has changed.

  Args:
    folder: where the files lie.
    expected: file name -> how many records it should hold.
  """
  known = _load(os.path.join(folder, _CACHE))
  stamps = {name: _stamp(os.path.join(folder, name)) for name in expected}
  stale = [
    name
    for name, records in expected.items()
    if name not in known or known[name][0] != stamps[name] or len(known[name][1]) != records
  ]
  if stale:
    _LOG.info('finding the records of %d files in %s (once)', len(stale), folder)
    with futures.ThreadPoolExecutor(_THREADS) as pool:
      found = pool.map(
        lambda name: shards.index_tfrecords(os.path.join(folder, name), expected[name]), stale
      )
      known |= {name: (stamps[name], index) for name, index in zip(stale, found, strict=True)}
    _save(os.path.join(folder, _CACHE), known)
  return {name: known[name][1] for name in expected}


def _stamp(path: str) -> tuple[int, int]:
  status = os.stat(path)
  return status.st_size, status.st_mtime_ns


def _load(path: str) -> _Known:
  """What was kept; nothing where there is no cache or it cannot be read."""
  try:
    with open(path, 'rb') as file, np.load(file, allow_pickle=False) as cache:
      bounds = np.cumsum(cache['records'])[:-1]
      indices = np.split(cache['index'], bounds)
      stamps = [(int(size), int(time)) for size, time in cache['stamps']]
      names = [str(name) for name in cache['names']]
      return dict(zip(names, zip(stamps, indices, strict=True), strict=True))
  except FileNotFoundError:
    return {}
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    _LOG.warning('%s cannot be used (%s); it is made anew', path, error)
    return {}


def _save(path: str, known: _Known) -> None:
  """Writes the cache whole or not at all; a folder that cannot be written is left as it is."""
  temporary = None
  try:
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as file:
      temporary = file.name
      np.savez(
        file,
        names=np.array(list(known)),
        stamps=np.array([stamp for stamp, _ in known.values()], np.int64),
        records=np.array([len(index) for _, index in known.values()], np.int64),
        index=np.concatenate([index for _, index in known.values()]),
      )
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
  except OSError as error:
    _LOG.info('the places of the records are not kept: %s', error)
    if temporary is not None and os.path.exists(temporary):
      os.remove(temporary)
