"""What is counted and timed, and what is made of it."""

import time
from pathlib import Path

import pytest
from data.folders import TINY, numbered, write_folder

from nfnets.benchmarks import input, input_memory
from nfnets.benchmarks.input import Loader, Speed
from nfnets.data.images import TrainGeometry
from nfnets.data.records import Records, open_records

LOADER = Loader(batch_size=8, threads=2, workers=0)
GEOMETRY = TrainGeometry(size=6, padding=1)


@pytest.fixture
def records(tmp_path: Path) -> Records:
  write_folder(tmp_path, {'train': numbered(20)})
  return open_records(tmp_path, TINY, 'train')


class Fake:
  """Batches of which each takes a tenth of a second, half of it computing."""

  def __init__(self, monkeypatch: pytest.MonkeyPatch):
    self.now, self.closed = 0.0, 0
    monkeypatch.setattr(time, 'perf_counter', lambda: self.now)
    monkeypatch.setattr(time, 'process_time', lambda: self.now / 2)

  def __iter__(self):
    return self

  def __next__(self) -> None:
    self.now += 0.1

  def close(self) -> None:
    self.closed += 1


def test_images_a_second_and_of_a_busy_core(monkeypatch):
  fake = Fake(monkeypatch)
  speed = input._time(fake, 8, in_workers=False)
  assert speed.images == pytest.approx(80)
  assert speed.busy == pytest.approx(160)
  assert fake.now == pytest.approx(6, abs=0.3)  # a warm-up that does not count
  assert fake.closed == 1
  assert input._time(fake, 8, in_workers=True).busy is None


def test_both_loaders_take_turns(records: Records, monkeypatch):
  times = iter(range(1, 9))
  monkeypatch.setattr(
    input, '_time', lambda batches, size, **unused: Speed(next(times), 10 if batches else None)
  )
  starts = []
  monkeypatch.setattr(input, 'train_batches', lambda *a, **options: starts.append(options) or 'x')
  measured = input.measure(
    records, GEOMETRY, LOADER, 4, against=lambda: '', progress=lambda line: None
  )
  assert measured == {
    'nfnets': [Speed(n, 10) for n in (1, 3, 5, 7)],
    'tf.data': [Speed(n, None) for n in (2, 4, 6, 8)],
  }
  assert len({options['start_step'] for options in starts}) == 4
  assert all(options['batch_size'] == 8 and options['threads'] == 2 for options in starts)
  assert input.markdown(measured).splitlines()[2:] == [
    '| nfnets | 4 | 1 | 7 | 10 | 4 |',
    '| tf.data | 5 | 2 | 8 |  | 4 |',
  ]


def test_the_loader_is_what_is_measured(records: Records, monkeypatch):
  monkeypatch.setattr(input, '_SECONDS', 0.01)
  monkeypatch.setattr(input, '_WARM_UP', 0.01)
  told: list[str] = []
  measured = input.measure(records, GEOMETRY, LOADER, 1, progress=told.append)
  (speed,) = measured['nfnets']
  assert speed.images > 0
  assert speed.busy is not None
  assert len(told) == 1


def test_photographs_are_measured_through_a_dataset(monkeypatch):
  monkeypatch.setattr(input.pictures, 'photographs', lambda folder: folder)
  monkeypatch.setattr(
    input.pictures,
    'views',
    lambda sources, count, size: [picture for picture, _ in numbered(5)],
  )
  seen = []

  def measure(records: Records, *unused: object, **also: object) -> dict[str, list[Speed]]:
    seen.extend(record.image for record in records)
    return {}

  monkeypatch.setattr(input, 'measure', measure)
  input.measure_photographs('here', GEOMETRY, LOADER, 1, progress=lambda line: None)
  assert seen == [picture for picture, _ in numbered(5)]


def test_memory_is_looked_at_a_hundred_times(records: Records, monkeypatch):
  held = iter(range(100))
  monkeypatch.setattr(input_memory, 'resident_memory', lambda: 2**20 * next(held))
  seen = input_memory.measure(records, GEOMETRY, LOADER, 200, progress=lambda line: None)
  assert seen.steps == list(range(2, 201, 2))
  assert seen.growth == 60 * 2**20  # from 29.5 to 89.5
  assert input_memory.markdown(seen).splitlines()[-2:] == [
    '| 200 | 99.0 MiB |',
    '| growth | 60.0 MiB |',
  ]


@pytest.mark.slow
def test_the_loader_holds_on_to_nothing(records: Records):
  seen = input_memory.measure(records, GEOMETRY, LOADER, 10_000, progress=lambda line: None)
  assert seen.growth < 10 * 2**20
