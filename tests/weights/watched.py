"""Reads hostile files in a process that watches itself: `python watched.py FOLDER`.

It has 2 GB of address space and 10 seconds for a file.  Prints, as JSON, for every file what was
raised, its message, and whatever the interpreter was made to do besides opening the file.
"""

import importlib
import json
import os
import resource
import signal
import sys
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEMORY = 2 * 2**30
SECONDS = 10


class TooSlow(BaseException):
  """Nothing in the readers may catch it."""


def too_slow(*_: object) -> None:
  raise TooSlow


class Watch:
  """What the interpreter does while a file is read."""

  def __init__(self) -> None:
    self.path: str | None = None
    self.events: list[str] = []
    sys.addaudithook(self.hear)

  def hear(self, event: str, arguments: tuple) -> None:
    # To open the file is right, to take memory that is no file's, too, and `id` does nothing.
    own = (event == 'open' and arguments[0] == self.path) or (
      event == 'mmap.__new__' and arguments[0] == -1
    )
    if self.path is not None and not own and event != 'builtins.id':
      self.events.append(f'{event} {str(arguments)[:200]}')

  def read(self, path: Path, read: object) -> dict[str, object]:
    self.events, self.path = [], str(path)
    # Of the processor's time: what else the machine does is no fault of the reader.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(10 * SECONDS)  # nor may it wait for ever
    try:
      read(path)
      raised, message = None, ''
    except BaseException as error:
      raised, message = type(error).__name__, str(error)
    finally:
      signal.setitimer(signal.ITIMER_PROF, 0)
      signal.alarm(0)
      self.path = None
    return {'raised': raised, 'message': message, 'events': self.events}


def main(folder: Path) -> None:
  # The package itself imports JAX, which takes more than 2 GB of addresses.
  package = types.ModuleType('nfnets')
  package.__path__ = [str(ROOT / 'nfnets')]
  sys.modules['nfnets'] = package
  files = importlib.import_module('nfnets.weights.files')
  importlib.import_module('encodings.cp437')  # in which zipfile reads names
  resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
  signal.signal(signal.SIGALRM, too_slow)
  signal.signal(signal.SIGPROF, too_slow)
  os.chdir(folder)
  watch = Watch()
  readers = {
    '.npz': files.deepmind.read,
    '.pth': lambda path: files.timm.read(path, 'NFNet'),
    '.safetensors': lambda path: files.read(path, 'NFNet'),
  }
  report = {path.name: watch.read(path, readers[path.suffix]) for path in sorted(folder.iterdir())}
  json.dump(report, sys.stdout)


if __name__ == '__main__':
  main(Path(sys.argv[1]))
