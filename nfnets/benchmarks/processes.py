"""Measurements in fresh processes: what a user's first call takes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nfnets.errors import RunError


def in_turns(
  measure: Callable[[str], Any], names: Sequence[str], repeats: int, progress: Callable[[str], None]
) -> dict[str, list[Any]]:
  """What `measure` returns for each name; the names take turns.

  So what else the machine does meets all alike.  `progress` is told every measurement.
  """
  measured: dict[str, list[Any]] = {name: [] for name in names}
  for _ in range(repeats):
    for name in names:
      measured[name].append(measure(name))
      progress(f'{name}: {measured[name][-1]}')
  return measured


def in_fresh_process(module: str, *arguments: str, compilation_cache: bool = False) -> Any:
  """What `python -m module arguments` prints last, read as JSON.

  Args:
    module: what is run.
    *arguments: of it.
    compilation_cache: leave it the one that the environment names; a user's first run has none.

  Raises:
    RunError: the process failed.
  """
  done = subprocess.run(
    [sys.executable, '-m', module, *arguments],
    env=dict(os.environ) if compilation_cache else _without_compilation_cache(os.environ),
    capture_output=True,
    text=True,
  )
  if done.returncode:
    sys.stderr.write(done.stderr)
    raise RunError(
      f'measuring {" ".join(arguments)} failed: {done.stderr.strip().splitlines()[-1:]}'
    )
  return json.loads(done.stdout.splitlines()[-1])  # libraries print, too


def _without_compilation_cache(environment: Mapping[str, str]) -> dict[str, str]:
  return {k: v for k, v in environment.items() if not k.startswith('JAX_COMPILATION_CACHE')}
