import dataclasses
import io
import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data.folders import TINY, numbered, write_folder
from PIL import Image

from nfnets.data import pipeline, shards
from nfnets.data.images import EvalGeometry, TrainGeometry
from nfnets.data.pipeline import Batch, eval_batches, num_eval_batches, train_batches
from nfnets.data.records import Records, open_records
from nfnets.errors import InputError

COUNT = 25
GEOMETRY = TrainGeometry(size=6, padding=2)


@pytest.fixture
def records(tmp_path: Path) -> Records:
  write_folder(tmp_path, {'train': numbered(COUNT)})
  return open_records(tmp_path, TINY, 'train')


def take(records: Records, count: int, **options: int) -> list[Batch]:
  """The first `count` batches of one host."""
  return take_shard(records, count, shard=(0, 1), **options)


def take_shard(
  records: Records, count: int, *, shard: tuple[int, int], **options: int
) -> list[Batch]:
  options = {'seed': 3, 'batch_size': 8, **options}
  with train_batches(records, GEOMETRY, shard=shard, **options) as batches:
    return [next(batches) for _ in range(count)]


def assert_same(found: list[Batch], wanted: list[Batch]) -> None:
  assert len(found) == len(wanted)
  for one, other in zip(found, wanted, strict=True):
    assert one.keys() == other.keys()
    for name in one:
      np.testing.assert_array_equal(one[name], other[name], err_msg=name)
      assert one[name].dtype == other[name].dtype


def united(parts: tuple[Batch, ...]) -> Batch:
  """The global batch: what all hosts have, ordered by position."""
  whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  order = np.argsort(whole['positions'])
  return {name: values[order] for name, values in whole.items()}


def test_a_batch_has_the_promised_shapes(records: Records):
  batch = take(records, 1)[0]
  assert {name: (values.shape, values.dtype.name) for name, values in batch.items()} == {
    'images': ((8, 6, 6, 3), 'uint8'),
    'labels': ((8,), 'int32'),
    'positions': ((8,), 'int32'),
    'bad_records': ((8,), 'int32'),
  }
  assert batch['positions'].tolist() == list(range(8))


@pytest.mark.parametrize('hosts', [2, 4, 8])
def test_batches_do_not_depend_on_the_number_of_hosts(records: Records, hosts: int):
  wanted = take(records, 8)  # two and a half epochs
  parts = [take_shard(records, 8, shard=(host, hosts)) for host in range(hosts)]
  assert all(len(batch['labels']) == 8 // hosts for part in parts for batch in part)
  assert_same([united(batches) for batches in zip(*parts, strict=True)], wanted)


def test_images_of_an_example_are_consecutive_records(records: Records):
  """An example of two images has what two examples of one image have: nothing is seen twice."""
  pairs = take(records, 3, images_per_example=2, batch_size=4)
  singles = take(records, 3, batch_size=8)
  for pair, single in zip(pairs, singles, strict=True):
    assert pair['images'].shape == (4, 2, 6, 6, 3)
    np.testing.assert_array_equal(pair['labels'].ravel(), single['labels'])
    np.testing.assert_array_equal(pair['images'].reshape(8, 6, 6, 3), single['images'])
    assert pair['positions'].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize('options', [{'images_per_example': 2}, {'together': 2}], ids=str)
def test_groups_do_not_depend_on_the_number_of_hosts(records: Records, options: dict[str, int]):
  wanted = take(records, 4, start_step=1, **options)
  parts = [take_shard(records, 4, shard=(host, 2), start_step=1, **options) for host in (0, 1)]
  assert_same([united(batches) for batches in zip(*parts, strict=True)], wanted)


def test_neighbours_stay_together_on_every_host(records: Records):
  parts = [take_shard(records, 1, shard=(host, 2), together=2)[0] for host in (0, 1)]
  assert [part['positions'].tolist() for part in parts] == [[0, 1, 4, 5], [2, 3, 6, 7]]
  with pytest.raises(InputError, match='together=4: the 2 examples of a host'):
    take_shard(records, 1, shard=(0, 4), together=4)


@pytest.mark.parametrize('start', [1, 3, 4, 7])
def test_a_run_resumes_at_any_step(records: Records, start: int):
  wanted = take(records, 9)
  assert_same(take(records, 9 - start, start_step=start), wanted[start:])
  second = take_shard(records, 9 - start, shard=(1, 2), start_step=start)
  assert_same(second, take_shard(records, 9, shard=(1, 2))[start:])


def test_batches_do_not_depend_on_threads_or_chunks(
  records: Records, monkeypatch: pytest.MonkeyPatch
):
  wanted = take(records, 6, threads=1)
  assert_same(take(records, 6, threads=5), wanted)
  monkeypatch.setattr(pipeline, '_CHUNK', 3)  # 8 examples are then made by twos
  assert_same(take(records, 6), wanted)


def test_batches_do_not_depend_on_worker_processes(records: Records):
  wanted = take(records, 5, start_step=2)
  assert_same(take(records, 5, start_step=2, workers=1), wanted)


def test_the_data_format_does_not_matter(tmp_path: Path, records: Records):
  write_folder(tmp_path / 'other', {'train': numbered(COUNT)}, file_format='array_record')
  assert_same(take(open_records(tmp_path / 'other', TINY, 'train'), 5), take(records, 5))


def test_every_epoch_is_another_permutation(records: Records):
  labels = np.concatenate([batch['labels'] for batch in take(records, 13)])[: 4 * COUNT]
  epochs = labels.reshape(4, COUNT)
  for epoch in epochs:
    assert sorted(epoch) == list(range(COUNT))
  assert len({tuple(epoch) for epoch in [*epochs, np.arange(COUNT)]}) == 5


def test_crops_differ_from_epoch_to_epoch(records: Records):
  batches = take(records, 16)
  labels = np.concatenate([batch['labels'] for batch in batches])
  images = np.concatenate([batch['images'] for batch in batches])
  different = [
    len({image.tobytes() for image in images[labels == label]}) for label in range(COUNT)
  ]
  assert np.mean(different) > 3


def test_seeds_give_different_runs(records: Records):
  runs = [np.stack([batch['labels'] for batch in take(records, 9, seed=s)]) for s in range(3)]
  for first, second in [(0, 1), (1, 2), (0, 2)]:
    assert (runs[first] != runs[second]).mean() > 0.5
  shifted = runs[0].ravel()[COUNT : 2 * COUNT]
  assert (shifted != runs[1].ravel()[:COUNT]).any()


def test_a_data_set_smaller_than_a_batch(records: Records):
  labels = np.concatenate([batch['labels'] for batch in take(records, 2, batch_size=100)])
  assert np.bincount(labels).tolist() == [8] * COUNT


@pytest.mark.parametrize('batch_size', [1, 37])
def test_any_batch_size_will_do(records: Records, batch_size: int):
  """Batches that no chunk but that of one example divides."""
  wanted = np.concatenate([batch['labels'] for batch in take(records, 10)])
  found = [batch['labels'] for batch in take(records, 80 // batch_size, batch_size=batch_size)]
  np.testing.assert_array_equal(np.concatenate(found), wanted[: len(found) * batch_size])


def damage(path: Path, record: int) -> None:
  start = int(shards.index_tfrecords(str(path), 10)[record, 0])
  data = bytearray(path.read_bytes())
  data[start + 40] ^= 1
  path.write_bytes(data)


@pytest.fixture
def damaged(tmp_path: Path) -> Records:
  """Records 12 and 13 have a wrong checksum, record 20 holds no image."""
  examples = numbered(COUNT)
  examples[20] = (b'no image', 20)
  folder = write_folder(tmp_path / 'damaged', {'train': examples})
  path = sorted(folder.glob('*-00001-of-*'))[0]
  damage(path, 2)
  damage(path, 3)
  return open_records(tmp_path / 'damaged', TINY, 'train')


def test_a_bad_record_costs_that_record(
  damaged: Records, records: Records, caplog: pytest.LogCaptureFixture
):
  with caplog.at_level(logging.WARNING):
    found = take(damaged, 10)
  passed_over = {12: 2, 13: 1, 20: 1}
  for one, whole in zip(found, take(records, 10), strict=True):
    bad = [passed_over.get(label, 0) for label in whole['labels'].tolist()]
    assert one['bad_records'].tolist() == bad
    assert one['labels'].tolist() == (whole['labels'] + bad).tolist()
    good = np.array(bad) == 0
    np.testing.assert_array_equal(one['images'][good], whole['images'][good])
  for where in ('record 2 at byte', 'record 3 at byte', 'these 8 bytes'):
    assert where in caplog.text


def test_bad_records_do_not_depend_on_the_number_of_hosts(damaged: Records):
  parts = [take_shard(damaged, 6, shard=(host, 2)) for host in range(2)]
  assert_same([united(batches) for batches in zip(*parts, strict=True)], take(damaged, 6))


def test_nothing_but_bad_records_stops_with_the_first_of_them(tmp_path: Path):
  write_folder(tmp_path, {'train': [(b'no image', 0)] * 3})
  with pytest.raises(InputError, match=r'100 records in a row.*no whole image.*record'):
    take(open_records(tmp_path, TINY, 'train'), 1)


def test_a_lost_disk_stops_the_run(records: Records):
  for shard, _, _ in records._pieces:
    os.remove(shard.path)
  with pytest.raises(FileNotFoundError):
    take(records, 1)


def evaluate(records: Records, hosts: int, batch_size: int) -> list[list[Batch]]:
  geometry = EvalGeometry(size=6, margin=0)
  return [
    list(eval_batches(records, geometry, batch_size=batch_size, shard=(host, hosts)))
    for host in range(hosts)
  ]


@pytest.mark.parametrize('hosts', [1, 2, 3])
@pytest.mark.parametrize('batch_size', [6, 12, 30])
def test_evaluation_counts_every_example_once(records: Records, hosts: int, batch_size: int):
  parts = evaluate(records, hosts, batch_size)
  for part in parts:
    assert len(part) == num_eval_batches(COUNT, batch_size) == -(-COUNT // batch_size)
    for batch in part:
      local = batch_size // hosts
      assert {name: (values.shape, values.dtype.name) for name, values in batch.items()} == {
        'images': ((local, 6, 6, 3), 'float32'),
        'labels': ((local,), 'int32'),
        'right_labels': ((local, 1), 'int32'),
        'mask': ((local,), 'float32'),
        'bad_records': ((local,), 'int32'),
      }
  batches = [batch for part in parts for batch in part]
  whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
  real = whole['mask'] == 1
  assert sorted(whole['labels'][real]) == list(range(COUNT))
  assert whole['right_labels'][real, 0].tolist() == whole['labels'][real].tolist()
  assert (whole['right_labels'][~real] == -1).all()
  assert whole['mask'].sum() == COUNT
  pixels = [np.asarray(Image.open(io.BytesIO(image))) for image, _ in numbered(COUNT)]
  for image, label in zip(whole['images'][real], whole['labels'][real], strict=True):
    np.testing.assert_array_equal(image, pixels[label])


@pytest.fixture
def reassessed(tmp_path: Path) -> Records:
  """Examples with three right answers, none and one."""
  label = tfds.features.Sequence(tfds.features.ClassLabel(num_classes=TINY.num_classes))
  pictures = [image for image, _ in numbered(3)]
  examples = list(zip(pictures, [[7, 900, 2], [], [5]], strict=True))
  write_folder(tmp_path, {'test': examples}, label=label, label_key='real_label')
  row = dataclasses.replace(TINY, label_key='real_label', max_labels=4)
  return open_records(tmp_path, row, 'test')


def test_evaluation_yields_all_right_answers_and_passes_over_images_without(reassessed: Records):
  ((batch,),) = evaluate(reassessed, 1, 3)
  assert batch['right_labels'].tolist() == [[7, 900, 2, -1], [-1] * 4, [5, -1, -1, -1]]
  assert batch['right_labels'].dtype == np.int32
  assert batch['labels'].tolist() == [7, 0, 5]
  assert batch['mask'].tolist() == [1, 0, 1]
  assert batch['bad_records'].tolist() == [0, 0, 0]


def test_nothing_is_learnt_from_an_image_without_a_label(reassessed: Records):
  batches = take(reassessed, 3, batch_size=3)
  assert sorted({*np.concatenate([batch['labels'] for batch in batches]).tolist()}) == [5, 7]
  assert sum(int(batch['bad_records'].sum()) for batch in batches) == 3  # once an epoch


def test_evaluation_leaves_bad_records_out_and_says_so(
  damaged: Records, caplog: pytest.LogCaptureFixture
):
  with caplog.at_level(logging.WARNING):
    batches = evaluate(damaged, 1, 10)[0]
  mask = np.concatenate([batch['mask'] for batch in batches])
  bad = np.concatenate([batch['bad_records'] for batch in batches])
  assert np.flatnonzero(bad).tolist() == [12, 13, 20]
  assert np.flatnonzero(mask == 0).tolist() == [12, 13, 20, *range(25, 30)]
  assert caplog.text.count('bad record:') == 3


@pytest.mark.parametrize(
  ('wrong', 'message'),
  [
    ({'batch_size': 9, 'shard': (0, 2)}, 'batch_size 9 cannot be divided .* 2'),
    ({'batch_size': 0}, 'batch_size is 0; it must be 1 or more'),
    ({'shard': (2, 2)}, r'the shard is 2; it must be 0\.\.1'),
    ({'shard': (0, 0)}, 'the number of shards is 0'),
    ({'seed': -1}, 'seed is -1'),
    ({'seed': 2**32}, 'seed is 4294967296'),
    ({'start_step': -1}, 'start_step is -1'),
    ({'threads': 0}, 'threads is 0'),
    ({'workers': -1}, 'workers is -1'),
  ],
)
def test_wrong_arguments_are_named(records: Records, wrong: dict[str, int], message: str):
  with pytest.raises(InputError, match=message):
    train_batches(records, GEOMETRY, **{'seed': 0, 'batch_size': 8, **wrong})


def test_closing_stops_the_threads(records: Records):
  def prefetching() -> int:
    return sum('grain-prefetch' in thread.name for thread in threading.enumerate())

  before = prefetching()
  with train_batches(records, GEOMETRY, seed=0, batch_size=4, threads=3) as batches:
    next(batches)
    assert prefetching() > before
  for thread in threading.enumerate():
    if 'grain-prefetch' in thread.name:
      thread.join(10)
  assert prefetching() <= before
  batches.close()
  with pytest.raises(ValueError, match='closed'):
    next(batches)
