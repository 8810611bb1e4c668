"""The families as Haiku modules, for use inside other networks."""

from nfnets.errors import InputError
from nfnets.models.execution import DEFAULT_EXECUTION, Execution
from nfnets.models.families import FAMILIES
from nfnets.models.residual import ResidualNet
from nfnets.models.variants import Variant, find_variant


class _FamilyNet(ResidualNet):
  """A network of one family.

  Args:
    num_classes: outputs of the classifier; 0 for none.
    variant: name of a row of the zoo, or a `Variant`.
    name: of the module; by default that of the released checkpoints.
    execution: rematerialization and loops.
  """

  families: tuple[str, ...]

  def __init__(
    self,
    num_classes: int,
    variant: str | Variant,
    *,
    name: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
  ):
    row = find_variant(variant) if isinstance(variant, str) else variant
    if row.family not in self.families:
      right = ' or '.join(self.families)
      raise InputError(f'variant={variant!r} is of the family {row.family}, not {right}')
    super().__init__(FAMILIES[row.family], row, num_classes, name=name, execution=execution)


class NFNet(_FamilyNet):
  """NFNet-F0 to F7 and plus (Brock et al. 2021, arXiv 2102.06171), and the light ones.

  `variant` may also be the papers' short form: 'F0', 'F0+'.
  """

  families = ('nfnet',)

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'nfnet_f0',
    *,
    name: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
  ):
    if isinstance(variant, str) and variant.startswith('F'):
      variant = 'nfnet_' + variant.lower().replace('+', '_plus')
    super().__init__(num_classes, variant, name=name, execution=execution)


class NFRegNet(_FamilyNet):
  """NF-RegNet B0 to B8 (Brock et al. 2021, arXiv 2101.08692)."""

  families = ('nf_regnet',)

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'nf_regnet_b0',
    *,
    name: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
  ):
    super().__init__(num_classes, variant, name=name, execution=execution)


class NFResNet(_FamilyNet):
  """NF-ResNet 50 to 600 (Brock et al. 2021, arXiv 2101.08692)."""

  families = ('nf_resnet', 'timm_nf_resnet')

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'nf_resnet50',
    *,
    name: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
  ):
    super().__init__(num_classes, variant, name=name, execution=execution)


class ResNet(_FamilyNet):
  """Pre-activation BatchNorm ResNet 50 to 600 (He et al. 2016, arXiv 1603.05027)."""

  families = ('resnet',)

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'resnet50',
    *,
    name: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
  ):
    super().__init__(num_classes, variant, name=name, execution=execution)


class ResNetV1(_FamilyNet):
  """Post-activation BatchNorm ResNet 50 to 600 (He et al. 2015, arXiv 1512.03385)."""

  families = ('resnet_v1',)

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'resnet50_v1',
    *,
    name: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
  ):
    super().__init__(num_classes, variant, name=name, execution=execution)


class SkipInitResNet(_FamilyNet):
  """SkipInit ResNet 50 to 600 (De and Smith 2020, arXiv 2002.10444)."""

  families = ('skipinit_resnet',)

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'skipinit_resnet50',
    *,
    name: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
  ):
    super().__init__(num_classes, variant, name=name, execution=execution)


class FixupResNet(_FamilyNet):
  """Fixup ResNet 50 to 600 (Zhang et al. 2019, arXiv 1901.09321)."""

  families = ('fixup_resnet',)

  def __init__(
    self,
    num_classes: int = 1000,
    variant: str | Variant = 'fixup_resnet50',
    *,
    name: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
  ):
    super().__init__(num_classes, variant, name=name, execution=execution)


class WideResNet(_FamilyNet):
  """Wide ResNet (arXiv 1605.07146) in one of the schemes of De and Smith 2020 (arXiv 2002.10444).

  The variant tells the scheme.
  """

  families = (
    'wide_resnet',
    'skipinit_wide_resnet',
    'sqrt2_wide_resnet',
    'fixup_wide_resnet',
    'nf_wide_resnet',
  )

  def __init__(
    self,
    num_classes: int = 10,
    variant: str | Variant = 'wide_resnet_16_4',
    *,
    name: str | None = None,
    execution: Execution = DEFAULT_EXECUTION,
  ):
    super().__init__(num_classes, variant, name=name, execution=execution)
