"""What each family of networks plugs into the one body."""

import dataclasses
import functools

from nfnets.models import necks, stems
from nfnets.models.blocks import BASIC, HE, BatchNormBlock, FixupBlock, PreactBlock, PreactDesign
from nfnets.models.design import inner_width
from nfnets.models.initializers import Constant, Normal
from nfnets.models.plan import Place
from nfnets.models.residual import Family
from nfnets.models.variants import Variant


def _bottleneck(place: Place, variant: Variant) -> tuple[int, int]:
  return inner_width(place.out_channels * variant.bottleneck, variant, place.index)


def _expanded(place: Place, variant: Variant) -> tuple[int, int]:
  """NF-RegNet widens the input of a block, but for the first of the network."""
  expansion = variant.bottleneck if place.index else 1
  return inner_width(place.in_channels * expansion, variant, place.index)


_NFNET_BLOCK = PreactDesign(
  name='nf_block',
  kernels=(1, 3, 3, 1),
  conv_names=('conv0', 'conv1', 'conv1b', 'conv2'),
  width=_bottleneck,
  pooled_shortcut=True,
)
_NF_REGNET_BLOCK = PreactDesign(
  name='nf_block', width=_expanded, pooled_shortcut=True, inner_attention=True
)
_NF_RESNET_BLOCK = PreactDesign(name='nf_res_block', width=_bottleneck)
_TIMM_NF_RESNET_BLOCK = dataclasses.replace(_NF_RESNET_BLOCK, pooled_shortcut=True)
_SKIPINIT_BLOCK = dataclasses.replace(_NF_RESNET_BLOCK, standardized=False)

_NF_WIDE_BLOCK = dataclasses.replace(_NF_RESNET_BLOCK, kernels=BASIC, conv_names=('conv0', 'conv1'))
_SKIPINIT_WIDE_BLOCK = dataclasses.replace(_NF_WIDE_BLOCK, standardized=False, w_init=HE)
_SQRT2_WIDE_BLOCK = dataclasses.replace(_SKIPINIT_WIDE_BLOCK, gained=False, divisor=2**0.5)

_IMAGENET_STEM = {'size': 7, 'stride': 2, 'pooled': True}
_SMALL_LOGITS = Normal(0.01)
_NO_LOGITS = Constant(0.0)

_NF_OPTIONS = frozenset({'alpha', 'se_ratio', 'skip_gain'})

_NFNET = Family(
  root='NFNet',
  stem=stems.quad,
  stem_stride=4,
  block=functools.partial(PreactBlock, _NFNET_BLOCK),
  neck=necks.scaled,
  classifier_init=_SMALL_LOGITS,
  options=_NF_OPTIONS | {'rounding'},
)
_NF_RESNET = Family(
  root='NF_ResNet',
  stem=functools.partial(stems.standardized, **_IMAGENET_STEM),
  stem_stride=4,
  block=functools.partial(PreactBlock, _NF_RESNET_BLOCK),
  neck=necks.scaled,
  classifier_init=_SMALL_LOGITS,
  options=_NF_OPTIONS,
)
_BATCHNORM_WIDE_RESNET = Family(
  root='WideResNet',
  stem=functools.partial(stems.plain, size=3, w_init=HE),
  stem_stride=1,
  block=functools.partial(BatchNormBlock, preactivation=True, kernels=BASIC, w_init=HE),
  neck=necks.batchnorm,
  classifier_init=Normal(),
  options=frozenset({'se_ratio'}),
  tracks_variance=False,
)

FAMILIES = {
  'nfnet': _NFNET,
  'nf_regnet': dataclasses.replace(
    _NFNET,
    root='NF_RegNet',
    stem=functools.partial(stems.standardized, size=3, stride=2),
    stem_stride=2,
    block=functools.partial(PreactBlock, _NF_REGNET_BLOCK),
    classifier_init=_NO_LOGITS,
  ),
  'nf_resnet': _NF_RESNET,
  'timm_nf_resnet': dataclasses.replace(
    _NF_RESNET, block=functools.partial(PreactBlock, _TIMM_NF_RESNET_BLOCK)
  ),
  'resnet': Family(
    root='ResNet',
    stem=functools.partial(stems.plain, **_IMAGENET_STEM),
    stem_stride=4,
    block=functools.partial(BatchNormBlock, preactivation=True),
    neck=necks.batchnorm,
    classifier_init=_NO_LOGITS,
    options=frozenset({'se_ratio'}),
    tracks_variance=False,
  ),
  'resnet_v1': Family(
    root='ResNet',
    stem=functools.partial(stems.batchnorm, **_IMAGENET_STEM),
    stem_stride=4,
    block=functools.partial(BatchNormBlock, preactivation=False),
    neck=necks.no,
    classifier_init=_NO_LOGITS,
    options=frozenset({'se_ratio'}),
    tracks_variance=False,
  ),
  'skipinit_resnet': Family(
    root='SkipInit_ResNet',
    stem=functools.partial(stems.plain, **_IMAGENET_STEM),
    stem_stride=4,
    block=functools.partial(PreactBlock, _SKIPINIT_BLOCK),
    neck=necks.plain,
    classifier_init=_NO_LOGITS,
    options=frozenset({'se_ratio', 'skip_gain'}),
    tracks_variance=False,
  ),
  'fixup_resnet': Family(
    root='FixUp_ResNet',
    stem=functools.partial(stems.fixup, **_IMAGENET_STEM),
    stem_stride=4,
    block=FixupBlock,
    neck=necks.no,
    classifier_init=_NO_LOGITS,
    unruled_classifier_init=Normal(),
    options=frozenset({'fixup_rules'}),
    tracks_variance=False,
    classifier_bias='bias2',
  ),
  'wide_resnet': _BATCHNORM_WIDE_RESNET,
  'skipinit_wide_resnet': dataclasses.replace(
    _BATCHNORM_WIDE_RESNET,
    root='SkipInit_WideResNet',
    block=functools.partial(PreactBlock, _SKIPINIT_WIDE_BLOCK),
    neck=necks.plain,
    options=frozenset({'se_ratio', 'skip_gain'}),
  ),
  'sqrt2_wide_resnet': dataclasses.replace(
    _BATCHNORM_WIDE_RESNET,
    root='Sqrt2_WideResNet',
    block=functools.partial(PreactBlock, _SQRT2_WIDE_BLOCK),
    neck=necks.plain,
  ),
  'fixup_wide_resnet': dataclasses.replace(
    _BATCHNORM_WIDE_RESNET,
    root='FixUp_WideResNet',
    stem=functools.partial(stems.fixup, size=3, w_init=HE),
    block=functools.partial(FixupBlock, kernels=BASIC),
    neck=necks.no,
    classifier_init=_NO_LOGITS,
    unruled_classifier_init=Normal(),
    options=frozenset({'fixup_rules'}),
    classifier_bias='bias2',
  ),
  'nf_wide_resnet': dataclasses.replace(
    _NF_RESNET,
    root='NF_WideResNet',
    stem=functools.partial(stems.standardized, size=3),
    stem_stride=1,
    block=functools.partial(PreactBlock, _NF_WIDE_BLOCK),
  ),
}
