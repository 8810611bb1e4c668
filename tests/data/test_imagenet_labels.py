from importlib import resources

import pytest

from nfnets.data.imagenet_labels import imagenet_labels, imagenet_wnids


def test_the_order_is_that_of_the_classes():
  theirs = resources.files('tensorflow_datasets') / 'datasets' / 'imagenet2012' / 'labels.txt'
  assert imagenet_wnids() == tuple(theirs.read_text(encoding='utf-8').split())


def test_every_class_has_a_name_of_its_own():
  names = imagenet_labels()
  assert len(names) == len({name.lower() for name in names}) == 1000
  assert all(name and name == name.strip() and len(name) <= 40 for name in names)


@pytest.mark.parametrize(
  ('index', 'wnid', 'name'),
  [
    (0, 'n01440764', 'tench'),
    (134, 'n02012849', 'crane bird'),
    (517, 'n03126707', 'construction crane'),
    (207, 'n02099601', 'Golden Retriever'),
    (281, 'n02123045', 'tabby cat'),
    (638, 'n03710637', 'maillot'),
    (639, 'n03710721', 'one-piece bathing suit'),
    (657, 'n03773504', 'missile'),
    (744, 'n04008634', 'projectile'),
    (836, 'n04355933', 'sunglass'),
    (837, 'n04356056', 'sunglasses'),
    (985, 'n11939491', 'daisy'),
    (999, 'n15075141', 'toilet paper'),
  ],
)
def test_some_classes(index: int, wnid: str, name: str):
  assert (imagenet_wnids()[index], imagenet_labels()[index]) == (wnid, name)
