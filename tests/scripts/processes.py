"""Running scripts as a person does, in processes of their own."""

import atexit
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).parents[2]
_ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT)}


class Done(NamedTuple):
  """How a command ended, and what it wrote."""

  returncode: int
  stdout: str
  stderr: str


def run_script(name: str, *arguments: object) -> Done:
  """Runs scripts/NAME.py in the repository's folder, in a fresh process."""
  done = subprocess.run(
    [sys.executable, f'scripts/{name}.py', *map(str, arguments)],
    cwd=ROOT,
    env=_ENVIRONMENT,
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )
  return Done(done.returncode, done.stdout, done.stderr)


def ask_script(name: str, *arguments: object) -> Done:
  """As `run_script`, in a process that has imported the script before: that takes longer than most
  commands.  For scripts without a config, and not for `--help`."""
  requests, answers = _server(name)
  requests.write(json.dumps([str(argument) for argument in arguments]) + '\n')
  requests.flush()
  return Done(*json.loads(answers.readline()))


@functools.cache
def _server(name: str) -> tuple[IO[str], IO[str]]:
  server = subprocess.Popen(
    [sys.executable, str(Path(__file__).with_name('server.py')), name],
    cwd=ROOT,
    env=_ENVIRONMENT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert server.stdin is not None
  assert server.stdout is not None
  atexit.register(server.kill)
  return server.stdin, server.stdout


def assert_told(done: Done, code: int, *parts: str) -> None:
  """That a command failed with one line on stderr, which has all the parts."""
  assert done.returncode == code, done.stderr
  assert done.stderr.startswith('error: ')
  assert done.stderr.count('\n') == 1
  assert done.stderr.endswith('\n')
  for part in parts:
    assert part in done.stderr
