import pytest

from nfnets.data.datasets import DATASETS, find_dataset
from nfnets.errors import InputError


def test_imagenet_is_as_the_reference_has_it():
  row = find_dataset('imagenet2012')
  assert (row.tfds_name, row.eval_split, row.num_classes) == ('imagenet2012', 'validation', 1000)
  assert row.mean == pytest.approx((123.675, 116.28, 103.53))
  assert row.std == pytest.approx((58.395, 57.12, 57.375))


@pytest.mark.parametrize('name', DATASETS)
def test_every_row_is_in_pixel_units(name: str):
  row = find_dataset(name)
  assert row.name == name
  assert all(30 < value < 200 for value in row.mean)
  assert all(30 < value < 120 for value in row.std)


def test_a_wrong_name_is_answered_with_the_nearest_and_all_names():
  with pytest.raises(InputError, match=r"'cifar': did you mean cifar10.*add a row") as caught:
    find_dataset('cifar')
  assert all(name in str(caught.value) for name in DATASETS)
