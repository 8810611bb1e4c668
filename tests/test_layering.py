"""Dependencies run one way: the tables say who may import whom, the tests read the imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

COMMON = {
  'nfnets.accelerators',
  'nfnets.allocator',
  'nfnets.errors',
  'nfnets.names',
  'nfnets.arguments',
  'nfnets.disk',
  'nfnets.progress',
  'nfnets.output_files',
  'nfnets.cache',
}
BESIDE_EACH_OTHER = {
  'nfnets.models',
  'nfnets.optim',
  'nfnets.data',
  'nfnets.augment',
  'nfnets.weights',
}

# The parts of the project, and what each may import beside itself.  `nfnets` is the public API.
PARTS = {
  'nfnets.accelerators': set(),
  'nfnets.allocator': {'nfnets.accelerators'},
  'nfnets.errors': set(),
  'nfnets.names': {'nfnets.errors'},
  'nfnets.arguments': {'nfnets.errors'},
  'nfnets.disk': set(),
  'nfnets.progress': set(),
  'nfnets.output_files': {'nfnets.errors'},
  'nfnets.cache': {'nfnets.errors'},
  'nfnets.native': {'nfnets.accelerators', 'nfnets.errors', 'nfnets.cache'},
  **dict.fromkeys(BESIDE_EACH_OTHER, COMMON),
  'nfnets.models': COMMON | {'nfnets.native'},
  'nfnets.loading': COMMON | {'nfnets.models', 'nfnets.weights'},
  'nfnets.batchnorm': COMMON | {'nfnets.models'},
  'nfnets.training': COMMON
  | BESIDE_EACH_OTHER
  | {'nfnets.batchnorm', 'nfnets.loading', 'nfnets.native'},
  'nfnets.inference': COMMON | BESIDE_EACH_OTHER | {'nfnets.loading', 'nfnets.training'},
  'nfnets.plots': COMMON | {'nfnets.models'},
  'nfnets.benchmarks': COMMON
  | BESIDE_EACH_OTHER
  | {'nfnets.loading', 'nfnets.native', 'nfnets.training'},
  'nfnets.pods': COMMON | BESIDE_EACH_OTHER | {'nfnets.training'},
  'nfnets.claims': COMMON
  | BESIDE_EACH_OTHER
  | {'nfnets', 'nfnets.batchnorm', 'nfnets.loading', 'nfnets.training', 'nfnets.plots'},
  'nfnets.command_line': COMMON,
  'nfnets': COMMON | {'nfnets.models', 'nfnets.optim', 'nfnets.loading'},
  'configs': COMMON | {'nfnets.training'},
  'scripts': COMMON
  | BESIDE_EACH_OTHER
  | {
    'nfnets',
    'nfnets.loading',
    'nfnets.native',
    'nfnets.plots',
    'nfnets.batchnorm',
    'nfnets.training',
    'nfnets.inference',
    'nfnets.benchmarks',
    'nfnets.pods',
    'nfnets.claims',
    'nfnets.command_line',
  },
}

# Within nfnets.models, a module may import those before it.
MODELS = (
  'variants',
  'published',
  'plan',
  'taps',
  'windows',
  'varying',
  'recomputed',
  'activations',
  'stacking',
  'direct_convolution',
  'winograd',
  'cpu_convolution',
  'native_convolution',
  'gpu_convolution',
  'convolution',
  'activated_convolution',
  'chain',
  'initializers',
  'initialization',
  'native_standardization',
  'one_pass_standardization',
  'standardization',
  'layers',
  'attention',
  'normalization',
  'design',
  'scanning',
  'execution',
  'stems',
  'necks',
  'blocks',
  'residual',
  'families',
  'networks',
  'zoo',
  'inspection',
  'features',
  'memory',
  'moments',
  'signals',
  'signal_prediction',
  'tables',
  'folding',
)

JAX = {'jax', 'jaxlib', 'haiku', 'optax'}
TENSORFLOW = {'tensorflow', 'tensorflow_datasets'}
TRAINING_ONLY = TENSORFLOW | {'grain', 'array_record', 'cv2', 'simplejpeg', 'orbax', 'matplotlib'}

# The libraries that a part does without, so that it can be used where they are not installed.
WITHOUT = {
  'nfnets.allocator': JAX | TRAINING_ONLY,
  'nfnets.errors': JAX | TRAINING_ONLY,
  'nfnets.names': JAX | TRAINING_ONLY,
  'nfnets.models': TRAINING_ONLY | {'optax'},
  'nfnets.models.variants': JAX | TRAINING_ONLY,
  'nfnets.models.plan': JAX | TRAINING_ONLY,
  'nfnets.models.published': JAX | TRAINING_ONLY,
  'nfnets.optim': TRAINING_ONLY | {'haiku'},
  'nfnets.data': JAX | {'tensorflow'},
  'nfnets.weights': TRAINING_ONLY | {'haiku'},
  'nfnets.training': TENSORFLOW,
  'nfnets.inference': TENSORFLOW | {'matplotlib'},
  'nfnets': TRAINING_ONLY,
}


def modules(root: Path) -> dict[str, Path]:
  """Every module below `root` that the rule speaks of: dotted name -> file."""
  files = [file for top in ('nfnets', 'configs', 'scripts') for file in (root / top).rglob('*.py')]
  parts = {file: file.relative_to(root).with_suffix('').parts for file in files}
  return {
    '.'.join(names[:-1] if names[-1] == '__init__' else names): file
    for file, names in parts.items()
  }


def imports(module: str, known: dict[str, Path]) -> Iterator[tuple[int, str]]:
  """Yields (line, imported module) for every import in the source, lazy ones included."""
  file = known[module]
  package = module.split('.') if file.name == '__init__.py' else module.split('.')[:-1]
  for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      yield from ((node.lineno, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      above = package[: len(package) + 1 - node.level] if node.level else []
      source = '.'.join([*above, *filter(None, [node.module])])
      for alias in node.names:
        name = f'{source}.{alias.name}'
        yield node.lineno, name if name in known else source


def within(module: str, part: str) -> bool:
  """Whether `module` is `part` or inside it; inside the public API there is nothing."""
  return module == part or (part != 'nfnets' and module.startswith(f'{part}.'))


def part_of(module: str) -> str | None:
  """The row of PARTS that a module belongs to."""
  return next((part for part in PARTS if within(module, part)), None)


def rank(module: str) -> int:
  """The place of a module in the order of MODELS; the package itself stands behind all."""
  name = module.removeprefix('nfnets.models').removeprefix('.')
  return MODELS.index(name) if name in MODELS else len(MODELS)


def allowed(module: str, imported: str) -> bool:
  """Whether the tables let `module` import `imported`."""
  refused = [WITHOUT[part] for part in WITHOUT if within(module, part)]
  if any(within(imported, library) for library in set().union(*refused)):
    return False
  if imported.split('.')[0] not in ('nfnets', 'configs', 'scripts'):
    return True
  part, other = part_of(module), part_of(imported)
  if part is None or other is None:
    return False
  if part == other == 'nfnets.models':
    return rank(imported) < rank(module)
  return part == other or other in PARTS[part]


def unplaced(module: str) -> str | None:
  """The table that should name the module and does not."""
  if part_of(module) is None:
    return 'PARTS'
  if module.startswith('nfnets.models.') and rank(module) == len(MODELS):
    return 'MODELS'
  return None


def violations(root: Path) -> list[str]:
  """Every import below `root` that breaks the rule, and every module the tables do not place."""
  known = modules(root)
  missing = [f'{module} has no place in {unplaced(module)}' for module in known if unplaced(module)]
  forbidden = [
    f'{file.relative_to(root)}:{line}: {module} may not import {imported}'
    for module, file in known.items()
    for line, imported in imports(module, known)
    if not allowed(module, imported)
  ]
  return sorted(missing + forbidden)


def write(root: Path, files: dict[str, str]) -> Path:
  """Writes a small source tree: path -> source."""
  for path, source in files.items():
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source, encoding='utf-8')
  return root


def test_the_project_holds_the_rule() -> None:
  assert 'nfnets.models.zoo' in modules(ROOT)
  assert violations(ROOT) == []


@pytest.mark.parametrize(
  ('path', 'source', 'imported'),
  [
    ('nfnets/models/plan.py', 'import jax.numpy as jnp', 'jax.numpy'),
    ('nfnets/models/plan.py', 'from nfnets.models.layers import X', 'nfnets.models.layers'),
    ('nfnets/models/plan.py', 'from nfnets.models import layers', 'nfnets.models.layers'),
    ('nfnets/models/plan.py', 'from . import layers', 'nfnets.models.layers'),
    ('nfnets/models/plan.py', 'from .layers import X', 'nfnets.models.layers'),
    ('nfnets/models/plan.py', 'from ..optim import X', 'nfnets.optim'),
    ('nfnets/models/plan.py', 'from nfnets import create_model', 'nfnets'),
    ('nfnets/models/zoo.py', 'from nfnets.models import X', 'nfnets.models'),
    ('nfnets/models/zoo.py', 'def f():\n  import nfnets.data.images', 'nfnets.data.images'),
    ('nfnets/data/images.py', 'def f():\n  import jax', 'jax'),
    ('nfnets/optim/agc.py', 'from nfnets.models.zoo import X', 'nfnets.models.zoo'),
    ('nfnets/weights/timm.py', 'from nfnets.models import layers', 'nfnets.models.layers'),
    ('nfnets/training/loop.py', 'from nfnets import command_line', 'nfnets.command_line'),
    ('nfnets/training/loop.py', 'import scripts.train', 'scripts.train'),
    ('nfnets/__init__.py', 'from nfnets.training import X', 'nfnets.training'),
    ('nfnets/__init__.py', 'import grain.python', 'grain.python'),
    ('nfnets/errors.py', 'import nfnets.names', 'nfnets.names'),
  ],
)
def test_a_forbidden_import_is_named(tmp_path: Path, path: str, source: str, imported: str) -> None:
  empty = ('nfnets/__init__.py', 'nfnets/command_line.py', 'nfnets/models/layers.py')
  root = write(tmp_path, {**dict.fromkeys(empty, ''), path: source})
  (found,) = violations(root)
  assert found.startswith(f'{path}:{source.count(chr(10)) + 1}: ')
  assert found.endswith(f' may not import {imported}')


def test_imports_along_the_order_pass(tmp_path: Path) -> None:
  sources = {
    'nfnets/__init__.py': 'from nfnets.models.zoo import X',
    'nfnets/errors.py': '',
    'nfnets/models/__init__.py': 'from nfnets.models.zoo import X',
    'nfnets/models/layers.py': 'import haiku as hk\nfrom nfnets.errors import X',
    'nfnets/models/zoo.py': 'from . import layers\nfrom .. import errors',
    'nfnets/data/images.py': 'import cv2\nimport numpy as np',
    'nfnets/training/loop.py': 'from nfnets.data import images\nfrom nfnets.models import X',
    'scripts/train.py': 'import nfnets\nfrom nfnets import command_line',
  }
  assert violations(write(tmp_path, sources)) == []


def test_a_module_without_a_place_is_named(tmp_path: Path) -> None:
  root = write(tmp_path, {'nfnets/utils.py': '', 'nfnets/models/extras.py': ''})
  assert violations(root) == [
    'nfnets.models.extras has no place in MODELS',
    'nfnets.utils has no place in PARTS',
  ]


def test_importing_nfnets_imports_no_training_library() -> None:
  program = 'import sys, nfnets; print(*{name.split(".")[0] for name in sys.modules})'
  result = subprocess.run(
    [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True
  )
  loaded = set(result.stdout.split())
  assert {'nfnets', 'haiku'} <= loaded
  assert loaded & TRAINING_ONLY == set()
