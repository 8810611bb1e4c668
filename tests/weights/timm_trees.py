"""Keys and shapes of timm's networks, as golden/timm_trees.json holds them.

`PYTHONPATH=.:tests python -m weights.timm_trees` writes that file anew where timm is installed.
"""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FILE = Path(__file__).parents[1] / 'golden' / 'timm_trees.json'

# Our name -> timm's.
NAMES = {
  **{f'nfnet_f{number}': f'dm_nfnet_f{number}' for number in range(7)},
  'nfnet_l0': 'nfnet_l0',
  **{f'eca_nfnet_l{number}': f'eca_nfnet_l{number}' for number in range(4)},
  'test_nfnet': 'test_nfnet',
  'timm_nf_resnet50': 'nf_resnet50',
  'nf_seresnet50': 'nf_seresnet50',
  'nf_ecaresnet50': 'nf_ecaresnet50',
  'timm_nf_regnet_b1': 'nf_regnet_b1',
}

Shapes = dict[str, tuple[int, ...]]


class Tree(NamedTuple):
  """One network of timm."""

  parameters: int
  """As timm counts them."""
  shapes: Shapes


def root_of(timm_name: str) -> str:
  """The name of our network's module for a network of timm."""
  roots = {'regnet': 'NF_RegNet', 'resnet': 'NF_ResNet', 'nfnet': 'NFNet'}
  return next(root for kind, root in roots.items() if kind in timm_name)


def load() -> dict[str, Tree]:
  """timm's name -> what the file says of it."""
  networks = json.loads(FILE.read_text(encoding='utf-8'))
  return {name: Tree(row['parameters'], _unfold(row)) for name, row in networks.items()}


def empty(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
  """Arrays of these shapes that take no memory."""
  return {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}


def _unfold(row: dict[str, Any]) -> Shapes:
  shapes = {key: tuple(shape) for key, shape in row['outside'].items()}
  for number, stage in enumerate(row['stages']):
    for block in range(stage['depth']):
      tensors = stage['others' if block else 'first']
      shapes |= {f'stages.{number}.{block}.{key}': tuple(tensors[key]) for key in tensors}
  return shapes


def _fold(shapes: Shapes) -> dict[str, Any]:
  """The inverse of `_unfold` where all blocks of a stage but the first are alike."""

  def below(prefix: str) -> dict[str, list[int]]:
    return {key.removeprefix(prefix): list(shapes[key]) for key in shapes if key.startswith(prefix)}

  stages = [
    {
      'depth': len({key.split('.')[0] for key in below(f'stages.{number}.')}),
      'first': below(f'stages.{number}.0.'),
      'others': below(f'stages.{number}.1.'),
    }
    for number in itertools.takewhile(lambda n: below(f'stages.{n}.'), itertools.count())
  ]
  outside = {key: list(shapes[key]) for key in shapes if not key.startswith('stages.')}
  return {'outside': outside, 'stages': stages}


def _main() -> None:
  from parity import timm_networks

  trees = {name: timm_networks.tree(name) for name in NAMES.values()}
  lines = [
    f'{json.dumps(name)}: {json.dumps({"parameters": tree.parameters, **_fold(tree.shapes)})}'
    for name, tree in trees.items()
  ]
  FILE.write_text('{\n' + ',\n'.join(lines) + '\n}\n', encoding='utf-8')


if __name__ == '__main__':
  _main()
