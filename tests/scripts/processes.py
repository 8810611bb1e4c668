"""Running a script as a person does, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
  """Runs scripts/NAME.py in the repository's folder."""
  return subprocess.run(
    [sys.executable, f'scripts/{name}.py', *map(str, arguments)],
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )


def assert_told(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
  """That a command failed with one line on stderr, which has all the parts."""
  assert done.returncode == code, done.stderr
  assert done.stderr.startswith('error: ')
  assert done.stderr.count('\n') == 1
  assert done.stderr.endswith('\n')
  for part in parts:
    assert part in done.stderr
