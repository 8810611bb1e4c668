"""The families as Haiku modules, for use inside other networks."""

from nfnets.errors import InputError
from nfnets.models.families import FAMILIES
from nfnets.models.residual import ResidualNet
from nfnets.models.variants import Variant, find_variant


class _FamilyNet(ResidualNet):
  """A network of one family.

  Args:
    num_classes: outputs of the classifier; 0 for none.
    variant: name of a row of the zoo, or a `Variant`.
    name: of the module; by default that of the released checkpoints.
  """

  family: str

  def __init__(self, num_classes: int, variant: str | Variant, *, name: str | None = None):
    row = find_variant(variant) if isinstance(variant, str) else variant
    if row.family != self.family:
      raise InputError(f'variant={variant!r} is of the family {row.family}, not {self.family}')
    super().__init__(FAMILIES[self.family], row, num_classes, name=name)


class NFNet(_FamilyNet):
  """NFNet-F0 to F7 and plus (Brock et al. 2021, arXiv 2102.06171).

  `variant` may also be the papers' short form: 'F0', 'F0+'.
  """

  family = 'nfnet'

  def __init__(
    self, num_classes: int = 1000, variant: str | Variant = 'nfnet_f0', *, name: str | None = None
  ):
    if isinstance(variant, str) and variant.startswith('F'):
      variant = 'nfnet_' + variant.lower().replace('+', '_plus')
    super().__init__(num_classes, variant, name=name)


class NFRegNet(_FamilyNet):
  """NF-RegNet B0 to B8 (Brock et al. 2021, arXiv 2101.08692)."""

  family = 'nf_regnet'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'nf_regnet_b0',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)


class NFResNet(_FamilyNet):
  """NF-ResNet 50 to 600 (Brock et al. 2021, arXiv 2101.08692)."""

  family = 'nf_resnet'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'nf_resnet50',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)


class ResNet(_FamilyNet):
  """Pre-activation BatchNorm ResNet 50 to 600 (He et al. 2016, arXiv 1603.05027)."""

  family = 'resnet'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'resnet50',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)


class ResNetV1(_FamilyNet):
  """Post-activation BatchNorm ResNet 50 to 600 (He et al. 2015, arXiv 1512.03385)."""

  family = 'resnet_v1'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'resnet50_v1',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)


class SkipInitResNet(_FamilyNet):
  """SkipInit ResNet 50 to 600 (De and Smith 2020, arXiv 2002.10444)."""

  family = 'skipinit_resnet'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'skipinit_resnet50',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)


class FixupResNet(_FamilyNet):
  """Fixup ResNet 50 to 600 (Zhang et al. 2019, arXiv 1901.09321)."""

  family = 'fixup_resnet'

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'fixup_resnet50',
    *,
    name: str | None = None,
  ):
    super().__init__(num_classes, variant, name=name)
