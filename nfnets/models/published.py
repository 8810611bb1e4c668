"""Published accuracies on ImageNet's validation images: numbers only, no JAX."""

from typing import NamedTuple


class Accuracy(NamedTuple):
  """In percent, of networks trained on ImageNet alone."""

  top1: float
  top5: float
  sam: bool = False
  """Whether it was trained with sharpness-aware minimization."""


# "High-Performance Large-Scale Image Recognition Without Normalization" (Brock et al. 2021, arXiv
# 2102.06171), Table 3: means over three seeds, but for the row with SAM.
ACCURACIES = {
  'nfnet_f0': Accuracy(83.6, 96.8),
  'nfnet_f1': Accuracy(84.7, 97.1),
  'nfnet_f2': Accuracy(85.1, 97.3),
  'nfnet_f3': Accuracy(85.7, 97.5),
  'nfnet_f4': Accuracy(85.9, 97.6),
  'nfnet_f5': Accuracy(86.0, 97.6),
  'nfnet_f6': Accuracy(86.5, 97.9, sam=True),
}
