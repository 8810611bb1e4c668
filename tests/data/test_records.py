import dataclasses
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data.folders import FORMATS, TINY, frame, numbered, write_folder

from nfnets.data import offsets, shards
from nfnets.data.records import BadRecord, Records, open_records
from nfnets.errors import InputError


def shard_file(folder: Path, number: int) -> Path:
  return sorted(folder.glob('tiny-train.*'))[number]


def flip(path: Path, offset: int) -> None:
  """Changes one byte."""
  data = bytearray(path.read_bytes())
  data[offset] ^= 0x10
  path.write_bytes(data)


def readable(records: Records) -> tuple[list[int], list[str]]:
  """The labels of the records that can be read, and what is said of the others."""
  labels, complaints = [], []
  for i in range(len(records)):
    try:
      labels.append(records[i].label)
    except BadRecord as error:
      complaints.append(str(error))
  return labels, complaints


@pytest.mark.parametrize('file_format', FORMATS)
def test_every_record_comes_back_in_order(tmp_path: Path, file_format: str):
  examples = numbered(25)
  folder = write_folder(tmp_path, {'train': examples}, file_format=file_format)
  records = open_records(tmp_path, TINY, 'train')
  assert [(record.image, record.label) for record in records] == examples
  assert records[13].where.startswith(f'{shard_file(folder, 1)}, record 3')
  with pytest.raises(IndexError):
    records[25]


@pytest.mark.parametrize('file_format', FORMATS)
@pytest.mark.parametrize(
  ('split', 'labels'),
  [
    ('train[:7]', range(7)),
    ('train[8:23]', range(8, 23)),
    ('train[80%:]', range(20, 25)),
    ('train[10:20]', range(10, 20)),
    ('test+train[24:]', [*range(3), 24]),
  ],
)
def test_sub_splits(tmp_path: Path, file_format: str, split: str, labels: list[int]):
  splits = {'train': numbered(25), 'test': numbered(3)}
  write_folder(tmp_path, splits, file_format=file_format)
  records = open_records(tmp_path, TINY, split)
  assert [record.label for record in records] == list(labels)
  assert len(records) == records.fingerprint['num_examples'] == len(labels)


@pytest.mark.parametrize('file_format', FORMATS)
def test_pickled_and_read_from_many_threads(tmp_path: Path, file_format: str):
  examples = numbered(40)
  write_folder(tmp_path, {'train': examples}, file_format=file_format)
  records = open_records(tmp_path, TINY, 'train')
  assert records[39].label == 39
  copy = pickle.loads(pickle.dumps(records))
  wanted = np.random.default_rng(0).integers(0, 40, 2000)
  with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(lambda i: copy[i].image, wanted))
  assert found == [examples[i][0] for i in wanted]


def test_fingerprint_is_plain_and_tells_data_apart(tmp_path: Path):
  write_folder(tmp_path / 'a', {'train': numbered(25)})
  write_folder(tmp_path / 'b', {'train': numbered(24)})
  write_folder(tmp_path / 'c', {'train': numbered(25)}, version='2.0.0')
  found = [open_records(tmp_path / name, TINY, 'train').fingerprint for name in 'abc']
  found.append(open_records(tmp_path / 'a', TINY, 'train[:20]').fingerprint)
  assert len({json.dumps(one) for one in found}) == 4
  assert found[0] == {
    'name': 'tiny',
    'version': '1.0.0',
    'split': 'train',
    'num_examples': 25,
    'shard_lengths': [10, 10, 5],
  }


def test_the_newest_whole_version_is_taken(tmp_path: Path):
  for version, count in {'2.9.0': 3, '2.10.0': 4, '1.0.0': 5}.items():
    write_folder(tmp_path, {'train': numbered(count)}, version=version)
  half_written = write_folder(tmp_path, {'train': numbered(6)}, version='3.0.0')
  (half_written / 'dataset_info.json').unlink()
  (tmp_path / 'tiny' / 'incomplete.ABC_4.0.0').mkdir()
  assert open_records(tmp_path, TINY, 'train').fingerprint['version'] == '2.10.0'


def test_a_configuration_folder_is_found_but_not_guessed(tmp_path: Path):
  write_folder(tmp_path, {'train': numbered(3)}, below='tiny/small')
  assert len(open_records(tmp_path, TINY, 'train')) == 3
  write_folder(tmp_path, {'train': numbered(3)}, below='tiny/large')
  with pytest.raises(
    InputError, match=r'several configurations \(large, small\); say which, as in tiny/large'
  ):
    open_records(tmp_path, TINY, 'train')


def test_what_is_missing_is_named(tmp_path: Path):
  prepare = r'scripts/prepare\.py tiny --data_dir='
  with pytest.raises(InputError, match=f'nowhere.*{prepare}'):
    open_records(tmp_path / 'nowhere', TINY, 'train')
  with pytest.raises(InputError, match=f'tiny.*{prepare}'):
    open_records(tmp_path, TINY, 'train')
  (tmp_path / 'tiny').mkdir()
  with pytest.raises(InputError, match=f'no whole version.*{prepare}'):
    open_records(tmp_path, TINY, 'train')
  folder = write_folder(tmp_path, {'train': numbered(25), 'test': numbered(1)})
  with pytest.raises(InputError, match=r"no split 'trian'; it has test \(1\), train \(25\)"):
    open_records(tmp_path, TINY, 'trian')
  gone = shard_file(folder, 1)
  gone.unlink()
  with pytest.raises(InputError, match=f'1 of the 3 files.*{gone.name}'):
    open_records(tmp_path, TINY, 'train')
  assert len(open_records(tmp_path, TINY, 'train[:10]')) == 10


def test_a_broken_description_is_named(tmp_path: Path):
  folder = write_folder(tmp_path, {'train': numbered(3)})
  (folder / 'dataset_info.json').write_text('{')
  with pytest.raises(InputError, match=r'1\.0\.0 cannot be read as a dataset folder'):
    open_records(tmp_path, TINY, 'train')


@pytest.mark.parametrize('place', ['data', 'checksum of the data', 'length', 'checksum of length'])
def test_a_flipped_byte_costs_one_record(tmp_path: Path, place: str):
  folder = write_folder(tmp_path, {'train': numbered(25)})
  path = shard_file(folder, 1)
  start, length = (int(x) for x in shards.index_tfrecords(str(path), 10)[4])
  inside = {'data': 40, 'checksum of the data': 12 + length, 'length': 1, 'checksum of length': 9}
  flip(path, start + inside[place])
  labels, complaints = readable(open_records(tmp_path, TINY, 'train'))
  assert labels == [i for i in range(25) if i != 14]
  assert len(complaints) == 1
  assert f'{path}, record 4 at byte {start}' in complaints[0]


def test_a_flipped_byte_in_an_array_record_costs_one_record(tmp_path: Path):
  examples = numbered(25)
  folder = write_folder(tmp_path, {'train': examples}, file_format='array_record')
  path = shard_file(folder, 1)
  flip(path, path.read_bytes().find(examples[14][0]) + 20)
  labels, complaints = readable(open_records(tmp_path, TINY, 'train'))
  assert labels == [i for i in range(25) if i != 14]
  assert len(complaints) == 1
  assert f'{path}, record 4' in complaints[0]


@pytest.mark.parametrize('cut', ['in a header', 'in the data', 'between records', 'at the start'])
def test_a_truncated_file_costs_its_tail(tmp_path: Path, cut: str):
  folder = write_folder(tmp_path, {'train': numbered(25)})
  path = shard_file(folder, 1)
  start = int(shards.index_tfrecords(str(path), 10)[7, 0])
  size, left = {
    'in a header': (start + 5, 7),
    'in the data': (start + 50, 7),
    'between records': (start, 7),
    'at the start': (0, 0),
  }[cut]
  os.truncate(path, size)
  labels, complaints = readable(open_records(tmp_path, TINY, 'train'))
  assert labels == [*range(10 + left), *range(20, 25)]
  assert len(complaints) == 10 - left
  assert all(str(path) in complaint for complaint in complaints)


def test_a_truncated_array_record_is_named_and_the_other_files_are_read(tmp_path: Path):
  folder = write_folder(tmp_path, {'train': numbered(25)}, file_format='array_record')
  path = shard_file(folder, 1)
  os.truncate(path, path.stat().st_size // 2)
  labels, complaints = readable(open_records(tmp_path, TINY, 'train'))
  assert labels == [*range(10), *range(20, 25)]
  assert all(str(path) in complaint for complaint in complaints)


def test_records_behind_several_damaged_stretches_keep_their_numbers(tmp_path: Path):
  path = tmp_path / 'file'
  data = [bytes([i]) * 50 for i in range(8)]
  frames = [bytearray(frame(one)) for one in data]
  frames[2][0] ^= 1
  frames[5][3] ^= 1
  path.write_bytes(b''.join(frames))
  index = shards.index_tfrecords(str(path), 8)
  assert [i for i in range(8) if index[i, 1] == -1] == [2, 5]
  shard = shards.TFRecordShard(str(path), index)
  assert shard.read(6) == data[6]


def test_more_records_than_described_are_refused(tmp_path: Path):
  path = tmp_path / 'file'
  path.write_bytes(4 * frame(b'x'))
  with pytest.raises(InputError, match=r'holds 4 records where dataset_info\.json says 3'):
    shards.index_tfrecords(str(path), 3)


def test_a_file_cut_after_it_was_opened(tmp_path: Path):
  folder = write_folder(tmp_path, {'train': numbered(10)})
  records = open_records(tmp_path, TINY, 'train')
  os.truncate(shard_file(folder, 0), 300)
  with pytest.raises(BadRecord, match='cut off'):
    records[9]


def test_labels_out_of_range_and_foreign_records_are_bad(tmp_path: Path):
  folder = write_folder(tmp_path, {'train': [*numbered(2), (b'x', 999)]})
  few = dataclasses.replace(TINY, num_classes=2)
  with pytest.raises(BadRecord, match=r'label 999 is outside 0\.\.1'):
    open_records(tmp_path, few, 'train')[2]
  shard_file(folder, 0).write_bytes(3 * frame(b'\xff\xff no example'))
  with pytest.raises(BadRecord, match='not an example of tiny'):
    open_records(tmp_path, TINY, 'train')[0]


REAL = dataclasses.replace(TINY, label_key='real_label', max_labels=3)


def test_several_right_answers_or_none(tmp_path: Path):
  pictures = [image for image, _ in numbered(4)]
  answers = [[7], [], [900, 2, 1], [1, 2, 3, 4]]
  label = tfds.features.Sequence(tfds.features.ClassLabel(num_classes=1000))
  examples = list(zip(pictures, answers, strict=True))
  write_folder(tmp_path, {'test': examples}, label=label, label_key='real_label')
  records = open_records(tmp_path, REAL, 'test')
  assert [records[i].labels for i in range(3)] == [(7,), (), (900, 2, 1)]
  assert [records[i].label for i in range(3)] == [7, -1, 900]
  assert [records[i].image for i in range(3)] == pictures[:3]
  assert records.max_labels == 3
  with pytest.raises(BadRecord, match=r'4 labels, more than 3: .*record 3'):
    records[3]
  with pytest.raises(InputError, match=r"\['image', 'real_label'\].* needs 'image' and 'label'"):
    open_records(tmp_path, TINY, 'test')


def test_labels_beside_the_classes_are_bad(tmp_path: Path):
  write_folder(tmp_path, {'test': numbered(4)})
  records = open_records(tmp_path, dataclasses.replace(TINY, classes=(0, 1, 3)), 'test')
  assert [records[i].label for i in (0, 1, 3)] == [0, 1, 3]
  with pytest.raises(BadRecord, match=r'label 2 is none of the 3 classes: .*record 2'):
    records[2]


def test_offsets_are_kept_and_found_anew_when_a_file_changes(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  folder = write_folder(tmp_path, {'train': numbered(25), 'test': numbered(5)})
  walked: list[str] = []
  walk = shards.index_tfrecords

  def counting(path: str, expected: int) -> np.ndarray:
    walked.append(Path(path).name)
    return walk(path, expected)

  monkeypatch.setattr(shards, 'index_tfrecords', counting)
  first = open_records(tmp_path, TINY, 'train')
  assert len(walked) == 3
  open_records(tmp_path, TINY, 'test')
  assert len(walked) == 4
  assert list(open_records(tmp_path, TINY, 'train')) == list(first)
  assert len(walked) == 4
  path = shard_file(folder, 2)
  os.utime(path, ns=(0, 0))
  open_records(tmp_path, TINY, 'train')
  assert walked[4:] == [path.name]
  kept = folder / offsets._CACHE
  kept.write_bytes(kept.read_bytes()[:100])
  assert list(open_records(tmp_path, TINY, 'train')) == list(first)
  assert sorted(walked[5:]) == sorted(file.name for file in folder.glob('tiny-train.*'))
  assert not list(folder.glob('tmp*'))


def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
  folder = write_folder(tmp_path, {'train': numbered(25)})

  def refuse(*unused: object, **also: object) -> None:
    raise PermissionError('read-only')

  monkeypatch.setattr(offsets.tempfile, 'NamedTemporaryFile', refuse)
  assert len(list(open_records(tmp_path, TINY, 'train'))) == 25
  assert not (folder / offsets._CACHE).exists()


def test_reading_does_not_import_tensorflow(tmp_path: Path):
  for file_format in FORMATS:
    write_folder(tmp_path / file_format, {'train': numbered(3)}, file_format=file_format)
  program = (
    'import sys\n'
    'from data.folders import TINY\n'
    'from nfnets.data import images, pipeline, records\n'
    'for folder in sys.argv[1:]:\n'
    '  source = records.open_records(folder, TINY, "train")\n'
    '  geometry = images.TrainGeometry(size=4)\n'
    '  with pipeline.train_batches(source, geometry, seed=0, batch_size=2) as batches:\n'
    '    next(batches)\n'
    'print("tensorflow" in sys.modules)\n'
  )
  root = Path(__file__).parents[2]
  done = subprocess.run(
    [sys.executable, '-c', program, *(str(tmp_path / one) for one in FORMATS)],
    env={**os.environ, 'PYTHONPATH': f'{root}:{root / "tests"}'},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout == 'False\n', done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('file_format', FORMATS)
def test_a_folder_written_by_tfds_with_tensorflow(tmp_path: Path, file_format: str):
  pytest.importorskip('tensorflow')
  from nfnets.data import preparation
  from nfnets.data.folders import find_dataset

  preparation.prepare('digits', tmp_path / 'ours')
  preparation.prepare('digits', tmp_path / 'theirs', file_format=file_format)
  ours, theirs = (
    open_records(tmp_path / name, find_dataset('digits'), 'test') for name in ('ours', 'theirs')
  )
  assert [(one.image, one.label) for one in ours] == [(one.image, one.label) for one in theirs]
