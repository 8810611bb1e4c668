"""The loader: batch k of a run is a pure function of (records, seed, k).

It does not depend on the number of hosts, threads or processes, nor on where the run was resumed.
Nothing of it is ever saved: resuming is asking for `start_step`.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import grain
import numpy as np
from absl import flags

from nfnets.data import examples, images
from nfnets.data.examples import RecordSource
from nfnets.errors import InputError

Batch = dict[str, np.ndarray]

_ENDLESS = 2**40  # batches; Grain asks for some number
_CHUNK = 32  # images made by one thread, or sent by one worker process, at a time


class Batches(Iterator[Batch]):
  """An iterator over batches that stops its threads and processes on `close()` or `with`."""

  def __init__(
    self, chunks: grain.DatasetIterator, join: Callable[[list[Batch]], Batch], parts: int
  ):
    """`chunks` yields pieces of a batch; `parts` of them in a row are joined to one."""
    self._chunks: grain.DatasetIterator | None = chunks
    self._join = join
    self._parts = parts

  def __next__(self) -> Batch:
    if self._chunks is None:
      raise ValueError('these batches are closed')
    parts = list(itertools.islice(self._chunks, self._parts))
    if not parts:
      raise StopIteration
    return self._join(parts)

  def close(self) -> None:
    """Stops reading ahead; the iterator cannot be used afterwards."""
    if self._chunks is not None:
      self._chunks.close()
      self._chunks = None  # Grain's iterators complain when they outlive the interpreter

  def __enter__(self) -> 'Batches':
    return self

  def __exit__(self, *unused: object) -> None:
    self.close()


def train_batches(
  records: RecordSource,
  geometry: images.TrainGeometry,
  *,
  seed: int,
  batch_size: int,
  start_step: int = 0,
  shard: tuple[int, int] = (0, 1),
  threads: int = 2,
  workers: int = 0,
  images_per_example: int = 1,
  together: int = 1,
) -> Batches:
  """This host's part of the training batches `start_step`, `start_step + 1`, ... without end.

  All examples are shuffled anew for each epoch; a batch may hold the end of one epoch and the
  beginning of the next.  Host h of n has every n-th example of the global batch, from h on; or
  every n-th group, where examples stay `together`.

  Args:
    records: the examples.
    geometry: how they are cropped.
    seed: 0 .. 2**32 - 1.
    batch_size: examples in the global batch, over all hosts.
    start_step: the first batch to yield.
    shard: (this host, number of hosts).
    threads: that decode, in this process or in each worker.
    workers: processes that decode; 0 for none.  They import the main module anew, so that a script
      must be guarded by `if __name__ == '__main__'`.
    images_per_example: images that are mixed into one example: so many records in a row.
    together: so many examples in a row have the same host, whatever the number of hosts.

  Returns:
    An iterator with `close()` over batches of
      images: uint8 [local, S, S, 3], or [local, K, S, S, 3] with K > 1 images an example
      labels: int32 [local], or [local, K]
      positions: int32 [local], the example's place in the global batch, 0 .. batch_size - 1
      bad_records: int32 [local], or [local, K], records passed over because they could not be read

  Raises:
    InputError: an argument is out of range; while iterating: 100 records in a row are bad.
  """
  host, hosts = _check_shard(batch_size, shard, threads=threads, workers=workers)
  _check_range('seed', seed, 0, 2**32 - 1)
  _check_range('start_step', start_step, 0)
  _check_range('the number of records', len(records), 1)
  local = batch_size // hosts
  _check_range('images_per_example', images_per_example, 1)
  if together < 1 or local % together:
    raise InputError(
      f'together={together}: the {local} examples of a host are not a multiple of that'
    )

  share = _Share(
    host=host,
    hosts=hosts,
    group=images_per_example * together,
    start=start_step * local * images_per_example,
  )
  positions = np.arange(batch_size, dtype=np.int32).reshape(-1, together)[host::hosts].ravel()
  shape = (local,) if images_per_example == 1 else (local, images_per_example)

  def join(parts: list[Batch]) -> Batch:
    whole = {name: x.reshape(*shape, *x.shape[1:]) for name, x in _concatenate(parts).items()}
    return whole | {'positions': positions.copy()}

  return _iterate(
    share,
    examples.TrainChunk(records, geometry, seed),
    join,
    images_each=local * images_per_example,
    batches=_ENDLESS,
    threads=threads,
    workers=workers,
  )


def eval_batches(
  records: RecordSource,
  geometry: images.EvalGeometry | images.CropGeometry,
  *,
  batch_size: int,
  shard: tuple[int, int] = (0, 1),
  threads: int = 2,
) -> Batches:
  """This host's part of the evaluation batches: each example once over all hosts.

  Every host gets `num_eval_batches` batches of one shape; what is missing in the last is padding.

  Args:
    records: the examples.
    geometry: how they are cropped.
    batch_size: examples in the global batch, over all hosts.
    shard: (this host, number of hosts).
    threads: that decode.

  Returns:
    An iterator with `close()` over batches of
      images: float32 [local, S, S, 3]
      labels: int32 [local], the right answer, the first where there are several
      right_labels: int32 [local, max_labels], all right answers, then -1
      mask: float32 [local], 1 for an example, 0 for padding, for records that cannot be read and
        for those without a right answer
      bad_records: int32 [local], 1 for a record that cannot be read
  """
  host, hosts = _check_shard(batch_size, shard, threads=threads, workers=0)
  return _iterate(
    _Share(host=host, hosts=hosts, group=1, start=0),
    examples.EvalChunk(records, geometry),
    _concatenate,
    images_each=batch_size // hosts,
    batches=num_eval_batches(len(records), batch_size),
    threads=threads,
    workers=0,
  )


def num_eval_batches(num_examples: int, batch_size: int) -> int:
  """How many batches `eval_batches` yields on every host."""
  return -(-num_examples // batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Share:
  """What one host has of a run: every n-th group of images in a row, from some image on."""

  host: int
  hosts: int
  group: int
  start: int

  def places(self, first: int, count: int) -> np.ndarray:
    """Where in the whole run the host's images `first`, `first + 1`, ... stand."""
    group, within = np.divmod(np.arange(self.start + first, self.start + first + count), self.group)
    return (group * self.hosts + self.host) * self.group + within


@dataclasses.dataclass(frozen=True)
class _Places(grain.transforms.Map):
  """Number of a chunk -> the places of its images."""

  share: _Share
  count: int

  def map(self, element: int) -> np.ndarray:
    """Called by Grain."""
    return self.share.places(element * self.count, self.count)


def _iterate(
  share: _Share,
  make: grain.transforms.Map,
  join: Callable[[list[Batch]], Batch],
  *,
  images_each: int,
  batches: int,
  threads: int,
  workers: int,
) -> Batches:
  """Batches of `images_each`, made in chunks so that one batch is the work of many threads."""
  chunk = max(size for size in range(1, min(images_each, _CHUNK) + 1) if images_each % size == 0)
  parts = images_each // chunk
  stream = grain.MapDataset.range(batches * parts).map(_Places(share, chunk)).map(make)
  chunks = stream.to_iter_dataset(
    grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2 * threads, parts))
  )
  if workers:
    if not flags.FLAGS.is_parsed():  # outside absl.app; Grain 0.2.18 reads a flag of its own
      flags.FLAGS.mark_as_parsed()
    chunks = chunks.mp_prefetch(
      grain.multiprocessing.MultiprocessingOptions(
        num_workers=workers, per_worker_buffer_size=max(2, -(-parts // workers))
      )
    )
  return Batches(iter(chunks), join, parts)


def _concatenate(parts: list[Batch]) -> Batch:
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_shard(
  batch_size: int, shard: tuple[int, int], *, threads: int, workers: int
) -> tuple[int, int]:
  host, hosts = shard
  _check_range('batch_size', batch_size, 1)
  _check_range('the number of shards', hosts, 1)
  _check_range('the shard', host, 0, hosts - 1)
  _check_range('threads', threads, 1)
  _check_range('workers', workers, 0)
  if batch_size % hosts:
    raise InputError(f'batch_size {batch_size} cannot be divided by the number of shards {hosts}')
  return host, hosts


def _check_range(name: str, value: int, least: int, most: int | None = None) -> None:
  if value < least or (most is not None and value > most):
    limits = f'{least} or more' if most is None else f'{least}..{most}'
    raise InputError(f'{name} is {value}; it must be {limits}')
