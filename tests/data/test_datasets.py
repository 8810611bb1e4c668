from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from nfnets.data.datasets import DATASETS, Dataset


def test_imagenet_is_as_the_reference_has_it():
  row = DATASETS['imagenet2012']
  assert (row.tfds_name, row.eval_split, row.num_classes) == ('imagenet2012', 'validation', 1000)
  assert row.mean == pytest.approx((123.675, 116.28, 103.53))
  assert row.std == pytest.approx((58.395, 57.12, 57.375))


@pytest.mark.parametrize('row', DATASETS.values(), ids=lambda row: row.name)
def test_every_row_is_in_pixel_units(row: Dataset):
  assert all(30 < value < 200 for value in row.mean)
  assert all(30 < value < 120 for value in row.std)


@pytest.mark.parametrize('name', sorted(DATASETS.keys() - {'digits'}))  # which is ours
def test_every_row_is_as_tfds_prepares_it(name: str, tmp_path: Path):
  row = DATASETS[name]
  builder = tfds.builder(row.tfds_name, data_dir=tmp_path)
  assert '/'.join(filter(None, (builder.name, *_config(builder)))) == row.tfds_name
  features = builder.info.features
  assert 'image' in features
  label = features[row.label_key]
  assert isinstance(label, tfds.features.Sequence) == (row.max_labels > 1)
  assert getattr(label, 'feature', label).num_classes == row.num_classes


def _config(builder: tfds.core.DatasetBuilder) -> tuple[str, ...]:
  return (builder.builder_config.name,) if builder.builder_config else ()


@pytest.mark.parametrize('name', ['imagenet_a', 'imagenet_r'])
def test_two_hundred_classes_of_imagenet(name: str):
  row = DATASETS[name]
  assert row.num_classes == 1000
  assert row.classes is not None
  assert len(row.classes) == 200
  assert list(row.classes) == sorted(set(row.classes))
  assert 0 <= row.classes[0] < row.classes[-1] < row.num_classes


def test_the_two_subsets_are_different():
  a, r = (set(DATASETS[name].classes or ()) for name in ('imagenet_a', 'imagenet_r'))
  assert len(a & r) == 86
