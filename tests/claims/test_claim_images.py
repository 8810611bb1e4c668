"""The images of the claims, read from a prepared dataset."""

import numpy as np
import pytest

from nfnets.claims.beds.images import Split, load_images
from nfnets.claims.claim import Source
from nfnets.errors import InputError


def test_all_images_of_a_prepared_dataset(digits):
  images = load_images(Source(digits, lambda done, total: None), 'digits')
  assert images.train.images.shape[1:] == (8, 8, 1)
  assert images.train.images.dtype == np.uint8
  assert set(images.test.labels) == set(range(10))
  assert len(images.train.labels) + len(images.test.labels) == 1797
  assert abs(images.train.images.mean() - images.mean[0]) < 1
  assert abs(images.train.images.std() - images.std[0]) < 1


def test_pooled_images_are_means_of_squares(digits):
  source = Source(digits, lambda done, total: None)
  whole, pooled = (load_images(source, 'digits', pooled=side).test.images for side in (1, 2))
  assert pooled.shape[1:] == (4, 4, 1)
  assert pooled[5, 1, 2, 0] == round(whole[5, 2:4, 4:6, 0].mean())


def test_a_dataset_that_is_not_there_names_the_command(tmp_path):
  with pytest.raises(InputError, match=r'scripts/prepare.py fashion_mnist --data_dir='):
    load_images(Source(tmp_path, lambda done, total: None), 'fashion_mnist')


def test_classes_are_numbered_anew():
  split = Split(np.arange(4)[:, None, None, None], np.array([3, 1, 0, 3]))
  chosen = split.of_classes((3, 0))
  assert chosen.labels.tolist() == [0, 1, 0]
  assert chosen.images.ravel().tolist() == [0, 2, 3]
