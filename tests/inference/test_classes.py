"""A network is judged only by data of its own classes."""

import dataclasses

import pytest
from inference.networks import linear_network

from nfnets.data.datasets import DATASETS, Dataset
from nfnets.data.imagenet_labels import imagenet_labels, imagenet_wnids
from nfnets.data.images import EvalGeometry
from nfnets.data.subsets import IMAGENET_A
from nfnets.errors import InputError
from nfnets.inference.classes import check_classes
from nfnets.inference.network import Network
from nfnets.inference.preprocessing import Preprocessing

DIGITS, NUMBERS = DATASETS['digits'], tuple('0123456789')
FLOWERS = ('anemone', 'bluebell', 'crocus', 'daisy', 'edelweiss', 'fuchsia', 'gorse', 'hop', 'iris',
           'jasmine')  # fmt: skip
GARDEN = dataclasses.replace(DIGITS, name='garden', of_numbers=False)


def network(labels: tuple[str, ...] | None, num_classes: int = 10) -> Network:
  linear = linear_network(num_classes)
  return Network(linear.model, None, {}, Preprocessing(EvalGeometry(size=16)), labels, 'a file')


def changed(names: tuple[str, ...], index: int, name: str) -> tuple[str, ...]:
  return (*names[:index], name, *names[index + 1 :])


def assert_other(labels: tuple[str, ...], dataset: Dataset, names: tuple[str, ...], told: str):
  with pytest.raises(InputError) as caught:
    check_classes(network(labels, dataset.num_classes), dataset, names)
  assert str(caught.value) == f'{told}: it was made for other data'


def test_flowers_are_no_digits():
  assert_other(
    FLOWERS, DIGITS, NUMBERS,
    "dataset='digits' calls class 0 '0', and the network linear (a file) 'anemone'",
  )  # fmt: skip


def test_the_first_class_that_differs_is_named():
  assert_other(
    FLOWERS, GARDEN, changed(changed(FLOWERS, 8, 'rose'), 3, 'oxeye'),
    "dataset='garden' calls class 3 'oxeye', and the network linear (a file) 'daisy'",
  )  # fmt: skip


@pytest.mark.parametrize(
  ('labels', 'names'),
  [
    (FLOWERS, FLOWERS),
    (None, FLOWERS),
    (FLOWERS, NUMBERS),  # prepared without names
    (NUMBERS, FLOWERS),
    (changed(FLOWERS, 2, ''), FLOWERS),
    (changed(FLOWERS, 3, 'oxeye-daisy'), changed(FLOWERS, 3, 'Oxeye_Daisy')),
  ],
)
def test_the_same_classes_and_those_without_names(
  labels: tuple[str, ...] | None, names: tuple[str, ...]
):
  check_classes(network(labels), GARDEN, names)


def test_another_number_of_classes():
  with pytest.raises(InputError, match="dataset='digits' has 10 classes, and the network 7"):
    check_classes(network(None, 7), DIGITS, NUMBERS)


@pytest.mark.parametrize('labels', [imagenet_labels(), imagenet_wnids()])
def test_imagenet_by_any_name(labels: tuple[str, ...]):
  for names in (imagenet_wnids(), imagenet_labels()):
    check_classes(network(labels, 1000), DATASETS['imagenet2012'], names)
    swapped = changed(names, 5, names[6])
    with pytest.raises(InputError, match="'imagenet2012' calls class 5 "):
      check_classes(network(labels, 1000), DATASETS['imagenet2012'], swapped)


def test_classes_that_do_not_occur_do_not_count():
  names = changed(imagenet_wnids(), 5, 'something else')
  assert 5 not in IMAGENET_A
  check_classes(network(imagenet_labels(), 1000), DATASETS['imagenet_a'], names)
  with pytest.raises(InputError, match='calls class 6 '):
    check_classes(network(imagenet_labels(), 1000), DATASETS['imagenet_a'], changed(names, 6, 'x'))
