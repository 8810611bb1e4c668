"""Published accuracies on ImageNet's validation images: numbers only, no JAX."""

from typing import NamedTuple


class Source(NamedTuple):
  """Who published a number."""

  text: str
  mark: str
  """What stands behind its numbers in a table."""


class Accuracy(NamedTuple):
  """In percent, of networks trained on ImageNet alone."""

  top1: float
  top5: float | None
  """None where it was not published."""
  size: int
  """Side of the images, in pixels."""
  source: Source


PAPER = Source('arXiv 2102.06171, Table 3', '')
PAPER_SAM = Source('arXiv 2102.06171, Table 3, trained with SAM', '*')
TIMM = Source('results-imagenet.csv of timm, its own weights', '†')

# "High-Performance Large-Scale Image Recognition Without Normalization" (Brock et al. 2021, arXiv
# 2102.06171), Table 3: means over three seeds, but for the row with SAM.  The ResNet-50 there has
# 26.0 M parameters and 4.10 B multiply-adds: it is none of the zoo.
_PAPER = {
  'nfnet_f0': Accuracy(83.6, 96.8, 256, PAPER),
  'nfnet_f1': Accuracy(84.7, 97.1, 320, PAPER),
  'nfnet_f2': Accuracy(85.1, 97.3, 352, PAPER),
  'nfnet_f3': Accuracy(85.7, 97.5, 416, PAPER),
  'nfnet_f4': Accuracy(85.9, 97.6, 512, PAPER),
  'nfnet_f5': Accuracy(86.0, 97.6, 544, PAPER),
  'nfnet_f6': Accuracy(86.5, 97.9, 576, PAPER_SAM),
}

# PyTorch Image Models (timm), each for the weights that it released.
_TIMM = {
  'nfnet_l0': Accuracy(82.766, None, 288, TIMM),
  'eca_nfnet_l0': Accuracy(82.590, None, 288, TIMM),
  'eca_nfnet_l1': Accuracy(84.062, None, 320, TIMM),
  'eca_nfnet_l2': Accuracy(84.710, None, 384, TIMM),
  'test_nfnet': Accuracy(47.634, None, 160, TIMM),
  'timm_nf_resnet50': Accuracy(80.658, None, 288, TIMM),
  'timm_nf_regnet_b1': Accuracy(79.368, None, 288, TIMM),
}

ACCURACIES = _PAPER | _TIMM
