"""The benchmark of convolutions counts what it computes."""

import pytest

from nfnets.benchmarks.convolutions import LAYERS, Layer, Rates, markdown, measure
from nfnets.models.windows import Window

SMALL = Layer('small', 5, 4, 6, 3, groups=2, stride=2, images=2)


def test_a_layer_counts_its_operations():
  assert SMALL.window == Window(image=(5, 5), kernel=(3, 3), stride=2, groups=2)
  assert SMALL.flops == 2 * (2 * 3 * 3 * 6) * (9 * 2)


def test_every_class_of_convolutions_is_there():
  assert {layer.kernel for layer in LAYERS} == {1, 3}
  assert {layer.channels // layer.groups for layer in LAYERS} >= {8, 128}
  assert {layer.stride for layer in LAYERS if layer.kernel == 1} == {1, 2}


def test_the_table_tells_shares_of_the_matrix_product():
  rates = Rates(SMALL, ours=(5e9, 2.5e9, 1e10), xla=(1e9, 1e9, 1e9))
  line = markdown([rates], 1e10).splitlines()[2]
  assert line == '| small | 5 | 4 to 6 | 2 | 0.50 / 0.10 | 0.25 / 0.10 | 1.00 / 0.10 |'


@pytest.mark.slow
def test_a_small_layer_is_measured():
  (rates,) = measure([SMALL])
  assert min(rates.ours) > 0
  assert min(rates.xla) > 0
