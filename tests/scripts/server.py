"""Runs one script again and again: a line of arguments in, a line of what came of it out."""

import importlib
import json
import os
import sys
import tempfile
import traceback

from absl import flags

from nfnets import command_line


def answer(name: str, arguments: list[str]) -> tuple[int, str, str]:
  """Exit code, standard output and standard error of one command."""
  module = importlib.import_module(f'scripts.{name}')
  sys.argv = [f'scripts/{name}.py', *arguments]
  for flag in flags.FLAGS:
    flags.FLAGS[flag].unparse()
  flags.FLAGS.unparse_flags()
  with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    code = run(module.main)
    sys.stdout.flush()
    sys.stderr.flush()
    return code, read(out), read(err)


def run(main) -> int:
  try:
    command_line.run(main)
  except SystemExit as end:
    return end.code if isinstance(end.code, int) else int(end.code is not None)
  except BaseException:
    traceback.print_exc()
    return 1


def read(file) -> str:
  file.seek(0)
  return file.read().decode()


if __name__ == '__main__':
  script, answers = sys.argv[1], os.fdopen(os.dup(1), 'w')
  for line in sys.stdin:
    print(json.dumps(answer(script, json.loads(line))), file=answers, flush=True)
