"""How many images a second the loader makes: read, decoded, cropped, resized and mirrored."""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from nfnets.benchmarks import pictures
from nfnets.benchmarks.processes import in_turns
from nfnets.benchmarks.tf_input import TfBatches
from nfnets.data.datasets import DATASETS
from nfnets.data.images import TrainGeometry
from nfnets.data.pipeline import Batch, train_batches
from nfnets.data.records import Records, open_records

OURS, TENSORFLOW = 'nfnets', 'tf.data'
_SECONDS = 5.0  # of a measurement, at least
_WARM_UP = 1.0
_FILES = 256
_USUAL = 500, 375  # width and height in pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loader:
  """How images are loaded.

  Attributes:
    batch_size: images in a batch.
    threads: see `train_batches`.
    workers: likewise.
  """

  batch_size: int
  threads: int
  workers: int


@dataclasses.dataclass(frozen=True)
class Speed:
  """One measurement.

  Attributes:
    images: a second.
    busy: a second that a core computes, all cores together; None where other processes do.
  """

  images: float
  busy: float | None


def measure_photographs(
  folder: str | None,
  geometry: TrainGeometry,
  loader: Loader,
  repeats: int,
  *,
  against_tensorflow: bool = False,
  progress: Callable[[str], None],
) -> dict[str, list[Speed]]:
  """`measure` on JPEG files of ImageNet's usual size, in a dataset that is gone at the end.

  Args:
    folder: holds photographs of which the files are parts; None for pictures that are made.
    geometry: how they are cropped.
    loader: with what means.
    repeats: how often.
    against_tensorflow: tf.data crops the same files, in turns.
    progress: is told each measurement as it comes.

  Raises:
    InputError: TensorFlow is asked for and not installed, or `folder` holds no photographs.
  """
  files = list(pictures.views(pictures.photographs(folder), _FILES, size=_USUAL))

  def tensorflow() -> TfBatches:
    return TfBatches(
      files, size=geometry.size, batch_size=loader.batch_size, threads=loader.threads
    )

  with tempfile.TemporaryDirectory() as data_dir:
    pictures.write_imagenet(data_dir, {'train': files})
    records = open_records(data_dir, DATASETS['imagenet2012'], 'train')
    against = tensorflow if against_tensorflow else None
    return measure(records, geometry, loader, repeats, against=against, progress=progress)


def measure(
  records: Records,
  geometry: TrainGeometry,
  loader: Loader,
  repeats: int,
  *,
  against: Callable[[], Iterator[object]] | None = None,
  progress: Callable[[str], None],
) -> dict[str, list[Speed]]:
  """Loads for some seconds, again and again; each time from another step of the run.

  Args:
    records: what is loaded.
    geometry: how it is cropped.
    loader: with what means.
    repeats: how often.
    against: makes another loader of batches of this size; the two take turns.
    progress: is told each measurement as it comes.

  Returns:
    Whose loader -> measurements.
  """
  starts = iter(range(0, 1000 * repeats, 1000))

  def ours() -> Iterator[Batch]:
    return train_batches(
      records,
      geometry,
      seed=0,
      start_step=next(starts),
      batch_size=loader.batch_size,
      threads=loader.threads,
      workers=loader.workers,
    )

  makers = {OURS: ours} if against is None else {OURS: ours, TENSORFLOW: against}

  def once(name: str) -> Speed:
    in_workers = name == OURS and loader.workers > 0
    return _time(makers[name](), loader.batch_size, in_workers=in_workers)

  return in_turns(once, list(makers), repeats, progress)


def markdown(measured: dict[str, list[Speed]]) -> str:
  """The measurements as a Markdown table."""
  rows = [
    '| loader | images/s, median | least | most | of a busy core | runs |',
    '| --- | ---: | ---: | ---: | ---: | ---: |',
  ]
  for name, speeds in measured.items():
    values = [speed.images for speed in speeds]
    busy = [speed.busy for speed in speeds if speed.busy is not None]
    rows.append(
      f'| {name} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} '
      f'| {f"{statistics.median(busy):.0f}" if busy else ""} | {len(speeds)} |'
    )
  return '\n'.join(rows)


def _time(batches: Iterator[object], batch_size: int, *, in_workers: bool) -> Speed:
  with closing(batches):  # pyright: ignore[reportArgumentType]
    _load(batches, _WARM_UP)
    before = time.process_time()
    count, seconds = _load(batches, _SECONDS)
    busy = time.process_time() - before
  images = count * batch_size
  return Speed(images / seconds, None if in_workers else images / busy)


def _load(batches: Iterator[object], seconds: float) -> tuple[int, float]:
  """How many batches came in about so many seconds, and in how many."""
  start, count = time.perf_counter(), 0
  while (passed := time.perf_counter() - start) < seconds or not count:
    next(batches)
    count += 1
  return count, passed
