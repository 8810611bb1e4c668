import io
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data.folders import png
from PIL import Image

from nfnets.data import image_writer, images
from nfnets.data.folders import class_names, find_dataset
from nfnets.data.image_folders import prepare_folder
from nfnets.data.records import open_records
from nfnets.errors import InputError

RNG = np.random.default_rng(0)


def picture(file_format: str, size: tuple[int, int] = (9, 7)) -> bytes:
  """Random pixels."""
  file = io.BytesIO()
  Image.fromarray(RNG.integers(0, 256, (*size, 3), np.uint8)).save(file, file_format)
  return file.getvalue()


def plant(root: Path, files: dict[str, bytes]) -> Path:
  for name, data in files.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)
  return root


def stored(data_dir: Path, name: str, split: str) -> dict[str, tuple[bytes, int]]:
  """File name -> (image, label), by way of our reader and of TFDS's own."""
  records = open_records(data_dir, find_dataset(name, data_dir), split)
  source = tfds.builder_from_directory(data_dir / name / '1.0.0').as_data_source(
    split, decoders={'image': tfds.decode.SkipDecoding()}
  )
  theirs = {one['file_name'].decode(): (one['image'], int(one['label'])) for one in source}
  assert sorted(theirs.values()) == sorted((one.image, one.label) for one in records)
  return theirs


@pytest.fixture
def source(tmp_path: Path) -> Path:
  return plant(
    tmp_path / 'My Pets!',
    {
      f'{split}/{name}/{i}.jpg': picture('JPEG')
      for split, count in {'train': 10, 'test': 2}.items()
      for name in ('dog', 'cat')
      for i in range(count)
    },
  )


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
  return tmp_path / 'data'


def test_pictures_become_a_dataset(source: Path, data_dir: Path):
  said: list[str] = []
  folder = prepare_folder(source, data_dir, report=said.append)
  assert folder == str(data_dir / 'my_pets' / '1.0.0')
  assert said == ['my_pets: 2 classes, train 20, test 4']
  row = find_dataset('my_pets', data_dir)
  assert (row.num_classes, row.train_split, row.eval_split) == (2, 'train', 'test')
  assert class_names(data_dir, row) == ('cat', 'dog')
  for split in ('train', 'test'):
    assert stored(data_dir, 'my_pets', split) == {
      str(file.relative_to(source)): (file.read_bytes(), int(file.parent.name == 'dog'))
      for file in (source / split).rglob('*.jpg')
    }
  assert [file.name for file in (data_dir / 'my_pets').iterdir()] == ['1.0.0']


def test_what_a_file_is_its_bytes_say(source: Path, data_dir: Path):
  kinds = {'a.jpg': 'PNG', 'b.txt': 'JPEG', 'c.webp': 'WEBP', 'd.gif': 'GIF', 'e.bmp': 'BMP'}
  files = {name: picture(kind) for name, kind in kinds.items()}
  plant(source / 'train' / 'cat', files)
  prepare_folder(source, data_dir)
  found = stored(data_dir, 'my_pets', 'train')
  for name in ('a.jpg', 'b.txt'):
    assert found[f'train/cat/{name}'] == (files[name], 0)
  for name in ('c.webp', 'd.gif', 'e.bmp'):
    image, label = found[f'train/cat/{name}']
    assert image.startswith(b'\x89PNG')
    assert label == 0
    np.testing.assert_array_equal(images.decode(image), images.decode(files[name]))


def test_tfds_decodes_what_was_stored(source: Path, data_dir: Path):
  pixels = RNG.integers(0, 256, (5, 4, 3), np.uint8)
  plant(source, {'train/cat/x.png': png(pixels)})
  folder = prepare_folder(source, data_dir)
  examples = tfds.builder_from_directory(folder).as_data_source('train')
  (found,) = [one['image'] for one in examples if one['file_name'] == b'train/cat/x.png']
  np.testing.assert_array_equal(found, pixels)


def test_unreadable_files_are_named_and_left_out(source: Path, data_dir: Path):
  plant(source, {'train/cat/torn.jpg': picture('JPEG')[:200]})
  (source / 'train/dog/gone.jpg').symlink_to('nowhere')
  said: list[str] = []
  prepare_folder(source, data_dir, report=said.append)
  assert len(said) == 4
  assert said[3] == '2 of 26 files cannot be read and are left out'
  told = sorted(said[1:3])
  assert told[0].startswith('train/cat/torn.jpg is left out: no whole image')
  assert told[1] == 'train/dog/gone.jpg is left out: not a file'
  assert len(stored(data_dir, 'my_pets', 'train')) == 20


def test_turned_pictures_are_kept_as_they_are_and_counted(source: Path, data_dir: Path):
  photo = (Path(__file__).parent / 'photos' / 'hopper_orientation_6.jpg').read_bytes()
  plant(source, {'train/cat/turned.jpg': photo, 'test/dog/turned.jpg': photo})
  said: list[str] = []
  prepare_folder(source, data_dir, report=said.append)
  assert len(said) == 2
  assert said[1].startswith('2 pictures are stored turned (EXIF) and will be seen so')
  assert stored(data_dir, 'my_pets', 'train')['train/cat/turned.jpg'] == (photo, 0)


def test_too_many_unreadable_files_stop_it(source: Path, data_dir: Path):
  plant(source, {f'train/cat/{i}.txt': b'no picture' for i in range(3)})
  with pytest.raises(
    InputError, match=r'3 of the first \d+ files .* a tenth of all 27; the last is'
  ):
    prepare_folder(source, data_dir)
  assert not list((data_dir / 'my_pets').iterdir())


def test_a_split_without_a_readable_picture_stops_it(source: Path, data_dir: Path):
  plant(source, {'val/cat/x.jpg': b'no picture'})
  with pytest.raises(InputError, match='no picture of val can be read'):
    prepare_folder(source, data_dir)
  assert not list((data_dir / 'my_pets').iterdir())


def test_large_folders_are_written_in_several_files(
  source: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
):
  monkeypatch.setattr(image_writer, '_SHARD_BYTES', 2000)
  monkeypatch.setattr(image_writer, '_AT_ONCE', 3)
  monkeypatch.setattr(image_writer, '_REPORT_SECONDS', 0.0)
  said: list[str] = []
  folder = prepare_folder(source, data_dir, report=said.append)
  assert len(list(Path(folder).glob('my_pets-train.array_record-*'))) > 2
  assert len(stored(data_dir, 'my_pets', 'train')) == 20
  assert said[1:] == [f'{i} of 24 files' for i in range(1, 25)]


def test_prepared_once_and_again_only_when_told(source: Path, data_dir: Path):
  folder = prepare_folder(source, data_dir)
  before = {file: file.stat().st_mtime_ns for file in Path(folder).iterdir()}
  said: list[str] = []
  assert prepare_folder(source, data_dir, report=said.append) == folder
  assert said == ['my_pets is already prepared; nothing to do']
  plant(source, {'train/cat/new.jpg': picture('JPEG')})
  with pytest.raises(InputError, match=r'has changed since .*my_pets/1\.0\.0: remove .* --name'):
    prepare_folder(source, data_dir)
  assert {file: file.stat().st_mtime_ns for file in Path(folder).iterdir()} == before
  prepare_folder(source, data_dir, name='my_pets_2')
  assert len(stored(data_dir, 'my_pets_2', 'train')) == 21


def test_another_dataset_is_never_touched(source: Path, data_dir: Path):
  (data_dir / 'my_pets' / '2.0.0').mkdir(parents=True)
  with pytest.raises(InputError, match='my_pets holds something else; choose another --name'):
    prepare_folder(source, data_dir)
  assert [file.name for file in (data_dir / 'my_pets').iterdir()] == ['2.0.0']


@pytest.mark.parametrize(
  ('error', 'told'),
  [
    (KeyboardInterrupt, 'no space left'),
    (OSError, r'my_pets cannot be written to .*: no space left'),
  ],
)
def test_what_is_interrupted_leaves_nothing(
  source: Path,
  data_dir: Path,
  monkeypatch: pytest.MonkeyPatch,
  error: type[BaseException],
  told: str,
):
  def stop(*unused: object) -> None:
    raise error('no space left')

  monkeypatch.setattr(tfds.core.DatasetInfo, 'write_to_directory', stop)
  with pytest.raises((error, InputError), match=told):
    prepare_folder(source, data_dir)
  assert not list((data_dir / 'my_pets').iterdir())


def test_a_data_folder_that_is_a_file_is_told(source: Path, tmp_path: Path):
  (tmp_path / 'file').touch()
  with pytest.raises(InputError, match=r'my_pets cannot be written to .*file/my_pets'):
    prepare_folder(source, tmp_path / 'file')


def test_others_may_read_it_as_the_umask_says(source: Path, data_dir: Path):
  old = os.umask(0o027)
  try:
    folder = prepare_folder(source, data_dir)
  finally:
    os.umask(old)
  assert os.stat(folder).st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
  ('name', 'told'),
  [
    ('9lives', "--name='9lives' is not a letter, then"),
    ('a/b', "--name='a/b' is not a letter, then"),
    ('cifar10', "--name='cifar10' is the name of another dataset"),
  ],
)
def test_a_name_that_cannot_be(source: Path, data_dir: Path, name: str, told: str):
  with pytest.raises(InputError, match=told):
    prepare_folder(source, data_dir, name=name)
  assert not data_dir.exists()


def test_a_folder_that_gives_no_name_asks_for_one(source: Path, data_dir: Path):
  source = source.rename(source.with_name('2024'))
  with pytest.raises(InputError, match="'2024' gives no name for a dataset; say --name=NAME"):
    prepare_folder(source, data_dir)
  assert prepare_folder(source, data_dir, name='Y2024').endswith('Y2024/1.0.0')


def test_the_source_is_not_written_into(source: Path, tmp_path: Path):
  pets = source.rename(tmp_path / 'pets')
  for data_dir in (tmp_path, pets, pets / 'train'):
    with pytest.raises(InputError, match=r'would be written into .*pets itself'):
      prepare_folder(pets, data_dir)
  assert sorted(file.name for file in pets.iterdir()) == ['test', 'train']
