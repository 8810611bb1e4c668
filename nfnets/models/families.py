"""What each family of networks plugs into the one body."""

import dataclasses
import functools

from nfnets.errors import InputError
from nfnets.models import necks, stems
from nfnets.models.blocks import BatchNormBlock, FixupBlock, PreactBlock, PreactDesign
from nfnets.models.initializers import Constant, Normal
from nfnets.models.plan import Place
from nfnets.models.residual import Family
from nfnets.models.variants import Variant


def _grouped(width: int, place: Place, variant: Variant) -> tuple[int, int]:
  """`width` rounded down to whole groups, and their number."""
  if variant.group_width is None:
    return width, 1
  groups = width // variant.group_width
  if groups == 0:
    raise InputError(
      f'group_width={variant.group_width} is more than the width {width} of block {place.index}, '
      f'which follows from bottleneck={variant.bottleneck}'
    )
  return variant.group_width * groups, groups


def _bottleneck(place: Place, variant: Variant) -> tuple[int, int]:
  return _grouped(int(place.out_channels * variant.bottleneck), place, variant)


def _expanded(place: Place, variant: Variant) -> tuple[int, int]:
  """NF-RegNet widens the input of a block, but for the first of the network."""
  expansion = variant.bottleneck if place.index else 1
  return _grouped(int(place.in_channels * expansion), place, variant)


_NFNET_BLOCK = PreactDesign(
  name='nf_block',
  inner_convs=('conv1', 'conv1b'),
  width=_bottleneck,
  pooled_shortcut=True,
)
_NF_REGNET_BLOCK = PreactDesign(
  name='nf_block', width=_expanded, pooled_shortcut=True, inner_se=True
)
_NF_RESNET_BLOCK = PreactDesign(name='nf_res_block', width=_bottleneck, pooled_shortcut=False)
_SKIPINIT_BLOCK = dataclasses.replace(_NF_RESNET_BLOCK, standardized=False)

FAMILIES = {
  'nfnet': Family(
    root='NFNet',
    stem=stems.quad,
    stem_channels=stems.half_of_first_stage,
    block=functools.partial(PreactBlock, _NFNET_BLOCK),
    neck=necks.wide,
    classifier_init=Normal(0.01),
  ),
  'nf_regnet': Family(
    root='NF_RegNet',
    stem=stems.single,
    stem_channels=stems.first_stage,
    block=functools.partial(PreactBlock, _NF_REGNET_BLOCK),
    neck=necks.regnet,
    classifier_init=Constant(0.0),
  ),
  'nf_resnet': Family(
    root='NF_ResNet',
    stem=stems.pooled,
    stem_channels=stems.quarter_of_first_stage,
    block=functools.partial(PreactBlock, _NF_RESNET_BLOCK),
    neck=necks.gamma,
    classifier_init=Normal(0.01),
  ),
  'resnet': Family(
    root='ResNet',
    stem=stems.plain_pooled,
    stem_channels=stems.quarter_of_first_stage,
    block=functools.partial(BatchNormBlock, preactivation=True),
    neck=necks.batchnorm,
    classifier_init=Constant(0.0),
    tracks_variance=False,
  ),
  'resnet_v1': Family(
    root='ResNet',
    stem=stems.batchnorm_pooled,
    stem_channels=stems.quarter_of_first_stage,
    block=functools.partial(BatchNormBlock, preactivation=False),
    neck=necks.no,
    classifier_init=Constant(0.0),
    tracks_variance=False,
  ),
  'skipinit_resnet': Family(
    root='SkipInit_ResNet',
    stem=stems.plain_pooled,
    stem_channels=stems.quarter_of_first_stage,
    block=functools.partial(PreactBlock, _SKIPINIT_BLOCK),
    neck=necks.plain,
    classifier_init=Constant(0.0),
    tracks_variance=False,
  ),
  'fixup_resnet': Family(
    root='FixUp_ResNet',
    stem=stems.fixup_pooled,
    stem_channels=stems.quarter_of_first_stage,
    block=FixupBlock,
    neck=necks.no,
    classifier_init=Constant(0.0),
    tracks_variance=False,
    classifier_bias='bias2',
  ),
}
