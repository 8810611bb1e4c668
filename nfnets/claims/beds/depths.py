"""Whether networks train at any depth: the grids of schemes and depths that claims share."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from nfnets.claims.beds.pictures import draw_curves
from nfnets.claims.beds.residual_mlp import ResidualMLP
from nfnets.claims.beds.sweep import FAILS_TO, TRAINS_FROM, Sweep, best
from nfnets.claims.beds.training import Recipe
from nfnets.claims.claim import Cost, Results, Setting
from nfnets.models.execution import Execution
from nfnets.models.variants import FixupRules, find_variant
from nfnets.models.zoo import Model, create_model

BLOCKS = (8, 50, 500)
"""Depths on a CPU, in blocks of two layers: networks of 18, 102 and 1002 layers."""
LAYERS = (16, 100, 1000)
"""Depths on a GPU: of Wide ResNets."""


class Arm(NamedTuple):
  """One scheme, whatever the depth."""

  mlp: str
  """Key of `residual_mlp.SCHEMES`."""
  wide: str
  """The family of Wide ResNets of the same scheme."""
  gain_by_depth: bool = False
  """Whether SkipInit's gains start with 1/sqrt(d)."""
  skip_gain: float | None = None
  """Otherwise: with this."""
  fixup_rules: FixupRules | None = None
  weight_decay: float = 5e-4
  """The paper's."""

  def network(self, blocks: int) -> ResidualMLP:
    """With fully connected layers."""
    gain = blocks**-0.5 if self.gain_by_depth else self.skip_gain or 0.0
    rules = self.fixup_rules or 'both'
    return ResidualMLP(scheme=self.mlp, blocks=blocks, width=32, skip_gain=gain, fixup_rules=rules)

  def wide_network(self, layers: int) -> Model:
    """The Wide ResNet, twice as wide as a ResNet, for ten classes."""
    name = f'{self.wide}_{layers}_2'
    by_depth = find_variant(name).num_blocks ** -0.5
    return create_model(
      name,
      10,
      skip_gain=by_depth if self.gain_by_depth else self.skip_gain,
      fixup_rules=self.fixup_rules,
      execution=Execution(remat='block', scan_from=4),
    )


BATCHNORM = Arm('batchnorm', 'wide_resnet')
SKIPINIT = Arm('skipinit', 'skipinit_wide_resnet')
SKIPINIT_BY_DEPTH = Arm('skipinit', 'skipinit_wide_resnet', gain_by_depth=True)
UNIT_GAIN = Arm('skipinit', 'skipinit_wide_resnet', skip_gain=1.0)
SQRT2 = Arm('sqrt2', 'sqrt2_wide_resnet')
NF = Arm('nf', 'nf_wide_resnet')
FIXUP = Arm('fixup', 'fixup_wide_resnet')


CPU_RATES = (0.2, 0.05, 0.0125)
GPU_RATES = (0.1, 0.025)
LOW_RATES = (4e-3, 1e-3)
LOWEST_RATES = (2.5e-4, 6e-5)
"""For schemes that are stable at lower rates alone when they are deep."""
TINY_RATES = (1e-3, 1e-5, 1e-7)
"""To be tried besides before a network counts as one that no learning rate trains."""


def on_cpu(
  arms: Mapping[str, Arm],
  rates: tuple[float, ...] = CPU_RATES,
  deepest_rates: tuple[float, ...] = (),
) -> Setting[Sweep]:
  """MLPs on Fashion-MNIST; cells are named 'ARM, N blocks'.

  Args:
    arms: by name.
    rates: for all of them.
    deepest_rates: for the deepest besides.
  """
  return Setting(
    cost=Cost.MINUTES,
    dataset='fashion_mnist',
    cells={
      f'{name}, {blocks} blocks': Sweep(
        network=arm.network(blocks),
        dataset='fashion_mnist',
        pooled=2,
        recipe=Recipe(batch_size=64, steps=120, learning_rate=0.0, weight_decay=arm.weight_decay),
        rates=rates + (deepest_rates if blocks == BLOCKS[-1] else ()),
      )
      for name, arm in arms.items()
      for blocks in BLOCKS
    },
  )


def on_gpu(arms: Mapping[str, Arm], rates: tuple[float, ...] = GPU_RATES) -> Setting[Sweep]:
  """Wide ResNets on CIFAR-10, for three epochs; cells are named 'ARM, N layers'."""
  return Setting(
    cost=Cost.GPU,
    dataset='cifar10',
    cells={
      f'{name}, {layers} layers': Sweep(
        network=arm.wide_network(layers),
        dataset='cifar10',
        recipe=Recipe(
          batch_size=128,
          steps=1170,
          learning_rate=0.0,
          weight_decay=arm.weight_decay,
          padding=4,
          flip=True,
        ),
        rates=rates,
      )
      for name, arm in arms.items()
      for layers in LAYERS
    },
  )


def depth_of(cell: str) -> int:
  """The number in the name of a cell."""
  return int(cell.rpartition(', ')[2].split()[0])


def draw_depths(figure: Figure, results: Results) -> None:
  """The best accuracy of every scheme over its depth; crosses where every run diverged."""
  axes = figure.subplots()
  kind = 'residual blocks' if 'blocks' in next(iter(results)) else 'layers'
  draw_curves(
    axes,
    {arm: _accuracies(results, arm) for arm in dict.fromkeys(map(_arm_of, results))},
    x=f'depth: {kind}',
    y='test accuracy, best learning rate (%)',
    log_x=True,
  )
  lost = [cell for cell, found in results.items() if np.isnan(found['accuracies']).all()]
  axes.plot([depth_of(cell) for cell in lost], [0] * len(lost), 'x', color='black', markersize=9)
  for level, words in ((TRAINS_FROM, 'trains'), (FAILS_TO, 'fails')):
    axes.axhline(100 * level, color='black', linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(words, (1, 100 * level), (-2, 3), xycoords=('axes fraction', 'data'),
                  textcoords='offset points', ha='right', fontsize='small')  # fmt: skip
  axes.set_ylim(-3, 100)


def _arm_of(cell: str) -> str:
  return cell.rpartition(', ')[0]


def _accuracies(results: Results, arm: str) -> tuple[list[int], list[float]]:
  """Depths, and best accuracies in percent."""
  cells = [cell for cell in results if _arm_of(cell) == arm]
  depths = [depth_of(cell) for cell in cells]
  return depths, [100 * best(results[cell]).accuracy for cell in cells]
