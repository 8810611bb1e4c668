"""A file to download, and how the tests do it."""

import hashlib
import os
from pathlib import Path

import pytest
from weights.flaky_server import Reply, Server

from nfnets.errors import InputError
from nfnets.weights.downloads import download
from nfnets.weights.transfers import Patience

DATA = bytes(range(256)) * 1024  # 256 KiB
OTHER = DATA[::-1]
SIZE = len(DATA)
MD5 = hashlib.md5(DATA).hexdigest()
WHOLE = Reply(DATA, etag='"one"')
HASTY = Patience(attempts=3, pause=0.0, timeout=5.0)


def fetch(
  server: Server,
  path: Path,
  *,
  size: int | None = SIZE,
  md5: str | None = MD5,
  patience: Patience = HASTY,
) -> Path:
  return download(f'{server.url}/file.npz', path, size=size, md5=md5, patience=patience)


def refused(server: Server, path: Path, **how: object) -> str:
  """The line that tells why there is no file."""
  with pytest.raises(InputError) as caught:
    fetch(server, path, **how)
  assert not path.exists()
  (line,) = str(caught.value).splitlines()
  return line


def names(path: Path) -> set[str]:
  return set(os.listdir(path.parent))
