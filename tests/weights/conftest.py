"""A server on this machine, and where to download to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from weights.downloading import WHOLE
from weights.flaky_server import Server, serving


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
  for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
    monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
  with serving() as server:
    server.replies(WHOLE)
    yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
  return tmp_path / 'cache' / 'file.npz'
