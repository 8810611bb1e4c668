from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data.folders import numbered, write_folder

from nfnets.data.datasets import DATASETS
from nfnets.data.folders import class_names, find_dataset
from nfnets.data.records import open_records
from nfnets.errors import InputError

FLOWERS = tfds.features.ClassLabel(names=['rose', 'tulip', 'daisy'])


@pytest.mark.parametrize('name', DATASETS)
def test_rows_of_the_table_come_first(tmp_path: Path, name: str):
  write_folder(tmp_path, {'train': numbered(3)}, label=FLOWERS, below=name)
  assert find_dataset(name) == find_dataset(name, tmp_path) == DATASETS[name]


def test_a_prepared_folder_becomes_a_row(tmp_path: Path):
  splits = {name: numbered(3) for name in ('train', 'test', 'validation')}
  write_folder(tmp_path, splits, label=FLOWERS, below='flowers')
  row = find_dataset('flowers', tmp_path)
  assert (row.name, row.tfds_name, row.num_classes) == ('flowers', 'flowers', 3)
  assert (row.train_split, row.eval_split) == ('train', 'validation')
  assert (row.mean, row.std) == (DATASETS['imagenet2012'].mean, DATASETS['imagenet2012'].std)
  assert [one.label for one in open_records(tmp_path, row, row.train_split)] == [0, 1, 2]
  assert class_names(tmp_path, row) == ('rose', 'tulip', 'daisy')


@pytest.mark.parametrize(
  ('splits', 'wanted'),
  [
    (['train', 'test'], 'test'),
    (['train', 'val', 'test'], 'val'),
    (['train', 'val', 'validation'], 'validation'),
  ],
)
def test_what_it_is_evaluated_on(tmp_path: Path, splits: list[str], wanted: str):
  write_folder(tmp_path, {name: numbered(3) for name in splits}, label=FLOWERS, below='flowers')
  assert find_dataset('flowers', tmp_path).eval_split == wanted


def test_nothing_to_evaluate_on_is_told_with_a_way_out(tmp_path: Path):
  write_folder(tmp_path, {'train': numbered(3)}, label=FLOWERS, below='flowers')
  row = find_dataset('flowers', tmp_path)
  with pytest.raises(
    InputError, match=r"no split 'validation'; it has train \(3\), .*train\[:90%\]"
  ):
    open_records(tmp_path, row, row.eval_split)


def test_a_configuration_is_named_with_its_folder(tmp_path: Path):
  for name in ('large', 'small-0.5'):
    write_folder(tmp_path, {'train': numbered(3)}, label=FLOWERS, below=f'flowers/{name}')
  row = find_dataset('flowers/small-0.5', tmp_path)
  assert row.tfds_name == 'flowers/small-0.5'
  assert len(open_records(tmp_path, row, 'train')) == 3
  with pytest.raises(InputError, match=r'several configurations .* as in flowers/large$'):
    find_dataset('flowers', tmp_path)


def test_classes_of_several_answers(tmp_path: Path):
  label = tfds.features.Sequence(tfds.features.ClassLabel(names=['n01440764', 'n01443537']))
  images = [(image, [0]) for image, _ in numbered(2)]
  write_folder(
    tmp_path, {'validation': images}, label=label, label_key='real_label', below='imagenet2012_real'
  )
  assert class_names(tmp_path, DATASETS['imagenet2012_real']) == ('n01440764', 'n01443537')


def test_classes_without_names_have_numbers(tmp_path: Path):
  write_folder(tmp_path, {'train': numbered(3)}, below='flowers')
  names = class_names(tmp_path, find_dataset('flowers', tmp_path))
  assert names == tuple(map(str, range(1000)))


def test_a_label_that_is_no_class_is_refused(tmp_path: Path):
  label = tfds.features.Scalar(np.int64)
  write_folder(tmp_path, {'train': numbered(3)}, label=label, below='ages')
  with pytest.raises(InputError, match=r"'label' of .*ages/1\.0\.0 is no class"):
    find_dataset('ages', tmp_path)


def test_a_folder_without_labels_is_refused(tmp_path: Path):
  write_folder(tmp_path, {'train': numbered(3)}, label_key='other', below='ages')
  with pytest.raises(InputError, match=r"\['image', 'other'\].* needs 'image' and 'label'"):
    find_dataset('ages', tmp_path)


def test_a_wrong_name_is_answered_with_the_nearest_and_all_names(tmp_path: Path):
  write_folder(tmp_path, {'train': numbered(3)}, label=FLOWERS, below='flowers')
  with pytest.raises(
    InputError, match=r"'cifar': did you mean cifar10.*scripts/prepare\.py"
  ) as told:
    find_dataset('cifar')
  assert all(name in str(told.value) for name in DATASETS)
  with pytest.raises(
    InputError, match=r"'flower': did you mean flowers\?.* into data_dir '.*flowers$"
  ):
    find_dataset('flower', tmp_path)


@pytest.mark.parametrize('name', ['', '..', '/', '../x', 'flowers/1.0.0/..', '/tmp'])
def test_a_path_is_no_name(tmp_path: Path, name: str):
  write_folder(tmp_path, {'train': numbered(3)}, label=FLOWERS, below='flowers')
  with pytest.raises(InputError, match='no dataset is called'):
    find_dataset(name, tmp_path)
