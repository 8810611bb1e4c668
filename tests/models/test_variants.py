"""The rows of the zoo against the papers' tables."""

import dataclasses

import pytest

from nfnets.errors import InputError
from nfnets.models.published import ACCURACIES, PAPER_SAM
from nfnets.models.variants import VARIANTS, find_variant

# arXiv 2102.06171, Table 1; F7 as in the released code.
NFNETS = {
  # name: depths, train size, test size, dropout
  'nfnet_f0': ((1, 2, 6, 3), 192, 256, 0.2),
  'nfnet_f1': ((2, 4, 12, 6), 224, 320, 0.3),
  'nfnet_f2': ((3, 6, 18, 9), 256, 352, 0.4),
  'nfnet_f3': ((4, 8, 24, 12), 320, 416, 0.4),
  'nfnet_f4': ((5, 10, 30, 15), 384, 512, 0.5),
  'nfnet_f5': ((6, 12, 36, 18), 416, 544, 0.5),
  'nfnet_f6': ((7, 14, 42, 21), 448, 576, 0.5),
  'nfnet_f7': ((8, 16, 48, 24), 480, 608, 0.5),
}


@pytest.mark.parametrize('name', NFNETS)
def test_nfnets_are_those_of_the_paper(name):
  variant = VARIANTS[name]
  row = (variant.depths, variant.train_size, variant.test_size, variant.drop_rate)
  assert row == NFNETS[name]
  assert variant.widths == (256, 512, 1536, 1536)
  assert (variant.bottleneck, variant.group_width, variant.se_ratio) == (0.5, 128, 0.5)
  assert (variant.alpha, variant.activation, variant.stochdepth_rate) == (0.2, 'gelu', 0.25)


@pytest.mark.parametrize('name', NFNETS)
def test_plus_variants_are_wider_and_nothing_else(name):
  wider = dataclasses.replace(VARIANTS[name], widths=(384, 768, 2048, 2048), stem_channels=192)
  assert VARIANTS[f'{name}_plus'] == wider


def test_the_network_for_tests_is_small():
  tiny = VARIANTS['nfnet_tiny']
  assert (tiny.widths, tiny.depths) == ((64, 128, 256, 256), (1, 1, 2, 1))
  assert (tiny.group_width, tiny.drop_rate) == (32, 0.2)
  assert (tiny.train_size, tiny.test_size) == (32, 48)


def test_a_row_is_found_by_its_name():
  assert find_variant('nfnet_f1') is VARIANTS['nfnet_f1']


def test_a_wrong_name_is_answered_with_the_nearest():
  message = r"^model='nfnet_f9' is not known: did you mean nfnet_f7, nfnet_f6, nfnet_f5\?$"
  with pytest.raises(InputError, match=message):
    find_variant('nfnet_f9')


def test_a_name_like_none_is_answered_with_all():
  with pytest.raises(InputError) as told:
    find_variant('vgg')
  assert all(name in str(told.value) for name in VARIANTS)


def test_published_accuracies_are_of_networks_that_exist_and_grow_with_them():
  assert set(ACCURACIES) <= set(VARIANTS)
  rows = [ACCURACIES[f'nfnet_f{i}'] for i in range(7)]
  assert [row.top1 for row in rows] == [83.6, 84.7, 85.1, 85.7, 85.9, 86.0, 86.5]
  assert [row.top5 for row in rows] == [96.8, 97.1, 97.3, 97.5, 97.6, 97.6, 97.9]
  assert [name for name, row in ACCURACIES.items() if row.source is PAPER_SAM] == ['nfnet_f6']
