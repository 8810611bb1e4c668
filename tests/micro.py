"""Networks that compile in seconds: two stages, three blocks; one with every kind of layer."""

import dataclasses

from nfnets.models.variants import VARIANTS, Variant
from nfnets.models.zoo import Model

VARIANT = Variant(
  family='nfnet',
  depths=(1, 2),
  widths=(32, 64),
  stem_channels=16,
  neck=(2, 1),
  strides=(1, 2),
  group_width=16,
  train_size=16,
  test_size=16,
)


def micro_model(num_classes: int = 10, *, drop_rate: float = 0.0) -> Model:
  """The network, with `drop_rate` for dropout and stochastic depth."""
  variant = dataclasses.replace(VARIANT, drop_rate=drop_rate, stochdepth_rate=drop_rate)
  return Model('nfnet_micro', variant, num_classes)


def batchnorm_model(num_classes: int = 10) -> Model:
  """One with batch normalization, and eight convolutions."""
  row = VARIANTS['wide_resnet_16_2']
  changes = {'depths': (1, 2), 'widths': (8, 8), 'strides': (1, 2), 'stem_channels': 8}
  return Model('wide_resnet_micro', dataclasses.replace(row, **changes), num_classes)
