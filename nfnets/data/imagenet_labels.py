"""The 1,000 classes of ImageNet-1k, in the order in which every released classifier has them."""

import functools
import importlib.resources


@functools.cache
def imagenet_labels() -> tuple[str, ...]:
  """A short English name of each class, no two alike: 'tench', ..., 'toilet paper'."""
  return tuple(name for _, name in _rows())


@functools.cache
def imagenet_wnids() -> tuple[str, ...]:
  """The WordNet identifier of each class: 'n01440764', ..., 'n15075141'."""
  return tuple(wnid for wnid, _ in _rows())


def _rows() -> list[list[str]]:
  file = importlib.resources.files('nfnets.data') / 'imagenet_labels.tsv'
  return [line.split('\t') for line in file.read_text(encoding='utf-8').splitlines()]
