"""Writes down what the zoo's networks are, for the tests to hold them to: run it for a new variant.

Example:
  PYTHONPATH=. python tests/golden/record_zoo.py                 # networks not yet written down
  PYTHONPATH=. python tests/golden/record_zoo.py wide_resnet_16_4

`zoo.json` has, for every network: parameters, multiply-adds at the test size, and a digest of its
tree of parameters and state.  For networks that the
released code or timm know, other golden files hold what these figures are checked against.
"""

import hashlib
import json
import pathlib
import sys

import jax

import nfnets
from nfnets.models.inspection import count_cost

FILE = pathlib.Path(__file__).with_name('zoo.json')


def tree_digest(model: nfnets.Model) -> str:
  """A digest of the paths, names, shapes and dtypes of all parameters and state."""
  trees = jax.eval_shape(model.init, jax.random.key(0))
  lines = sorted(
    f'{kind} {module} {name} {leaf.shape} {leaf.dtype}'
    for kind, tree in zip(('params', 'state'), trees, strict=True)
    for module, leaves in tree.items()
    for name, leaf in leaves.items()
  )
  return hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:16]


def describe(name: str) -> dict[str, int | str]:
  """What `zoo.json` says of a network."""
  model = nfnets.create_model(name)
  parameters, macs = count_cost(model)
  return {'parameters': parameters, 'macs': macs, 'tree': tree_digest(model)}


def main(names: list[str]) -> None:
  known = json.loads(FILE.read_text()) if FILE.exists() else {}
  for name in names or [name for name in nfnets.list_models() if name not in known]:
    known[name] = describe(name)
    print(name, known[name], flush=True)
  rows = [f'  "{name}": {json.dumps(known[name])}' for name in nfnets.list_models()]
  FILE.write_text('{\n' + ',\n'.join(rows) + '\n}\n')


if __name__ == '__main__':
  main(sys.argv[1:])
