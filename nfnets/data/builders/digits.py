"""Scikit-learn's handwritten digits: 1,797 real images of 8x8 pixels, vendored beside this file."""

import gzip
import importlib.resources
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from nfnets.data.builders.encoding import png

_HIGHEST = 16  # of the stored grey values
_TEST_EVERY = 5


class Digits(tfds.core.GeneratorBasedBuilder):
  """1,437 training and 360 test images.

  The split is stratified and fixed: the images sorted by class (in the file's order within one),
  every fifth is a test image.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Initial release.'}  # noqa: RUF012 (TFDS declares it so)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description='Handwritten digits, 8x8 grey, scaled from 0..16 to 0..255.',
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(shape=(8, 8, 1), encoding_format='png'),
          'label': tfds.features.ClassLabel(num_classes=10),
        }
      ),
      supervised_keys=('image', 'label'),
      homepage='https://doi.org/10.24432/C50P49',
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager  # nothing is downloaded
    images, labels = read_digits()
    by_class = np.argsort(labels, kind='stable')
    test = by_class[::_TEST_EVERY]
    train = np.setdiff1d(by_class, test)
    return {
      'train': _examples(images, labels, train),
      'test': _examples(images, labels, test),
    }

  def _generate_examples(self) -> None:
    """Never called: the examples are made in `_split_generators`."""


def read_digits() -> tuple[np.ndarray, np.ndarray]:
  """The vendored file: images uint8 [1797, 8, 8] on the scale 0..255, labels int64 [1797]."""
  file = importlib.resources.files('nfnets.data.builders') / 'digits.csv.gz'
  rows = np.loadtxt(
    gzip.decompress(file.read_bytes()).decode().splitlines(), delimiter=',', dtype=np.int64
  )
  pixels = np.rint(rows[:, :-1] * (255 / _HIGHEST)).astype(np.uint8)
  return pixels.reshape(-1, 8, 8), rows[:, -1]


def _examples(
  images: np.ndarray, labels: np.ndarray, chosen: np.ndarray
) -> Iterator[tuple[int, dict[str, Any]]]:
  for i in chosen:
    yield int(i), {'image': png(images[i]), 'label': int(labels[i])}
