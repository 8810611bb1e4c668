"""`docs/promises.md` names tests that exist, for every promise of the design."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r'`(tests/\S+\.py)::(test_\w+)`( \*slow\*)?')
PROMISES = (ROOT / 'docs' / 'promises.md').read_text(encoding='utf-8')


def slow_tests(file: str) -> dict[str, bool]:
  """Name -> whether it is slow, of every test in a file."""
  tree = ast.parse((ROOT / file).read_text(encoding='utf-8'))
  all_slow = any(
    isinstance(node, ast.Assign) and ast.unparse(node) == 'pytestmark = pytest.mark.slow'
    for node in tree.body
  )
  return {
    node.name: all_slow or 'pytest.mark.slow' in map(ast.unparse, node.decorator_list)
    for node in tree.body
    if isinstance(node, ast.FunctionDef)
  }


def test_every_test_that_is_named_exists_and_is_slow_where_it_is_said():
  named = NAMED.findall(PROMISES)
  assert len(named) == PROMISES.count('::test_') > 40
  assert {(file, name): slow_tests(file).get(name) for file, name, _ in named} == {
    (file, name): bool(slow) for file, name, slow in named
  }


def test_every_promise_of_the_design_is_there():
  design = (ROOT / 'docs' / 'design.md').read_text(encoding='utf-8')
  section = design.split('\n## 7. ')[1].split('\n## ')[0]
  promised = [int(number) for number in re.findall(r'^(\d+)\. ', section, re.MULTILINE)]
  parts = re.split(r'^## (\d+)\. .+$', PROMISES, flags=re.MULTILINE)[1:]
  assert [int(number) for number in parts[::2]] == promised == list(range(1, 11))
  assert all(NAMED.search(part) for part in parts[1::2])
