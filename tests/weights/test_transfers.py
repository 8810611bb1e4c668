"""Servers that refuse, are in trouble, send elsewhere, or say nothing."""

import socket
from pathlib import Path

import pytest
from weights.downloading import DATA, HASTY, MD5, SIZE, WHOLE, fetch, names, refused
from weights.flaky_server import Reply, Server

from nfnets.errors import InputError
from nfnets.weights import transfers
from nfnets.weights.downloads import download
from nfnets.weights.transfers import Patience


@pytest.mark.parametrize('status', [401, 403, 404, 410, 204])
def test_a_refusal_is_told_at_once(server: Server, path: Path, status: int) -> None:
  server.replies(Reply(status=status))
  assert f'the server answers {status} ' in refused(server, path)
  assert len(server.requests) == 1
  assert names(path) == set()


@pytest.mark.parametrize('status', [429, 500, 503])
def test_a_server_in_trouble_is_asked_again(server: Server, path: Path, status: int) -> None:
  trouble = Reply(status=status)
  server.replies(trouble, trouble, WHOLE)
  fetch(server, path)
  assert path.read_bytes() == DATA
  server.replies(trouble)
  assert f'the server answers {status} ' in refused(server, path.with_name('second'))


def test_redirects_are_followed_with_the_range(server: Server, path: Path) -> None:
  moved = Reply(status=302, headers={'Location': '/elsewhere'})
  server.replies(moved, WHOLE._replace(stops_after=1000), moved, WHOLE)
  fetch(server, path)
  assert path.read_bytes() == DATA
  assert [request.target for request in server.requests] == ['/file.npz', '/elsewhere'] * 2
  assert server.ranges() == [None, None, 'bytes=1000-', 'bytes=1000-']
  assert server.sent == SIZE


def test_a_redirect_to_nowhere(server: Server, path: Path) -> None:
  server.replies(Reply(status=302, headers={'Location': '/file.npz'}))
  assert 'the server answers 302 ' in refused(server, path)


def test_a_silent_server(server: Server, path: Path) -> None:
  silent = WHOLE._replace(stops_after=1000, hangs=True)
  server.replies(silent, WHOLE)
  fetch(server, path, patience=HASTY._replace(timeout=1.0))
  assert path.read_bytes() == DATA
  assert server.sent == SIZE
  server.replies(silent._replace(stops_after=0))
  line = refused(server, path.with_name('second'), patience=HASTY._replace(timeout=0.1))
  assert 'timed out' in line


def test_nobody_listens(path: Path) -> None:
  with socket.create_server(('127.0.0.1', 0)) as free:
    port = free.getsockname()[1]
  with pytest.raises(
    InputError, match=r'refused \(3 attempts\); if a browser can fetch it'
  ) as told:
    download(f'http://127.0.0.1:{port}/file.npz', path, patience=HASTY)
  assert f'put it at {path}' in str(told.value)
  assert names(path) == set()


@pytest.mark.parametrize('url', ['file:///etc/passwd', 'file.npz', 'http://['])
def test_an_address_that_is_none(path: Path, url: str) -> None:
  with pytest.raises(InputError):
    download(url, path, patience=HASTY)
  assert not path.exists()


def test_the_pauses_double(
  server: Server, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
  pauses: list[float] = []
  monkeypatch.setattr(transfers.time, 'sleep', pauses.append)
  server.replies(Reply(status=500))
  refused(server, path, patience=Patience(attempts=8))
  assert pauses == [1, 2, 4, 8, 16, 30, 30]
  assert caplog.messages[1].endswith('500 Internal Server Error; trying again in 2 s')


def test_a_proxy_is_used(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv('http_proxy', server.url)
  download('http://weights.invalid/file.npz', path, md5=MD5, patience=HASTY)
  assert path.read_bytes() == DATA
  assert server.requests[0].target == 'http://weights.invalid/file.npz'
