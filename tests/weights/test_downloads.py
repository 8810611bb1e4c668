"""Downloads from a server on this machine that breaks connections and serves wrong bytes."""

import errno
import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from weights.flaky_server import Reply, Server, serving

from nfnets.errors import InputError
from nfnets.weights import part_files, transfers
from nfnets.weights.downloads import check, download
from nfnets.weights.transfers import Patience

ROOT = Path(__file__).parents[2]
DATA = bytes(range(256)) * 1024  # 256 KiB
OTHER = DATA[::-1]
SIZE = len(DATA)
MD5 = hashlib.md5(DATA).hexdigest()
WHOLE = Reply(DATA, etag='"one"')
HASTY = Patience(attempts=3, pause=0.0, timeout=5.0)


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


def test_downloads_once(server: Server, path: Path) -> None:
  assert fetch(server, path) == path
  assert path.read_bytes() == DATA
  assert fetch(server, path) == path
  assert server.ranges() == [None]
  assert names(path) == {'file.npz'}


def test_goes_on_where_the_connection_broke(server: Server, path: Path) -> None:
  server.replies(*(WHOLE._replace(stops_after=count) for count in (1000, 70_000, 1)), WHOLE)
  fetch(server, path)
  assert path.read_bytes() == DATA
  assert server.ranges() == [None, 'bytes=1000-', 'bytes=71000-', 'bytes=71001-']
  assert server.requests[-1].if_range == '"one"'
  assert server.sent == SIZE
  assert names(path) == {'file.npz'}


def test_goes_on_as_long_as_something_comes(server: Server, path: Path) -> None:
  server.replies(*[WHOLE._replace(stops_after=SIZE // 16)] * 15, WHOLE)
  fetch(server, path, patience=HASTY._replace(attempts=2))
  assert path.read_bytes() == DATA
  assert server.sent == SIZE


def test_gives_up_when_nothing_more_comes(server: Server, path: Path) -> None:
  server.replies(WHOLE._replace(stops_after=1000), WHOLE._replace(stops_after=0))
  line = refused(server, path)
  assert 'the connection broke after 1000 bytes (3 attempts)' in line
  assert f'put it at {path}' in line
  assert f'{server.url}/file.npz' in line
  assert 'give the file of weights itself' in line
  assert len(server.requests) == 4
  assert names(path) == {'file.npz.part', 'file.npz.part.from'}
  server.replies(WHOLE)
  fetch(server, path)
  assert path.read_bytes() == DATA
  assert server.sent == SIZE


def test_begins_anew_where_ranges_are_ignored(server: Server, path: Path) -> None:
  plain = WHOLE._replace(ranges=False)
  server.replies(plain._replace(stops_after=1000), plain)
  fetch(server, path)
  assert path.read_bytes() == DATA
  assert server.ranges() == [None, 'bytes=1000-']
  assert server.sent == 1000 + SIZE


def test_gives_up_where_ranges_are_ignored_and_it_always_breaks(server: Server, path: Path) -> None:
  plain = WHOLE._replace(ranges=False)
  server.replies(*[plain._replace(stops_after=1000), plain._replace(stops_after=500)] * 5)
  assert '(3 attempts)' in refused(server, path)
  assert len(server.requests) == 4  # after the first none came further


@pytest.mark.parametrize('minds_if_range', [True, False])
@pytest.mark.parametrize('md5', [MD5, None])
def test_never_joins_two_versions(
  server: Server, path: Path, minds_if_range: bool, md5: str | None
) -> None:
  server.replies(
    Reply(OTHER, etag='"old"', stops_after=1000), WHOLE._replace(minds_if_range=minds_if_range)
  )
  fetch(server, path, md5=md5)
  assert path.read_bytes() == DATA


@pytest.mark.parametrize('md5', [MD5, None])
def test_without_a_word_for_its_version_the_md5_decides(
  server: Server, path: Path, md5: str | None
) -> None:
  server.replies(Reply(OTHER, stops_after=1000), Reply(DATA))
  fetch(server, path, md5=md5)
  assert path.read_bytes() == DATA
  assert server.ranges() == ([None, 'bytes=1000-', None] if md5 else [None, None])


def test_begins_anew_once_only(server: Server, path: Path) -> None:
  server.replies(*[Reply(OTHER, stops_after=1000), Reply(OTHER)] * 3)
  assert 'has md5' in refused(server, path)
  assert server.ranges() == [None, 'bytes=1000-'] * 2


def test_a_last_modified_date_stands_for_the_version(server: Server, path: Path) -> None:
  dated = Reply(DATA, headers={'Last-Modified': 'Wed, 10 Feb 2021 10:00:00 GMT'})
  server.replies(dated._replace(stops_after=1000), dated._replace(minds_if_range=False))
  fetch(server, path, md5=None)
  assert server.requests[-1].if_range == 'Wed, 10 Feb 2021 10:00:00 GMT'
  assert server.sent == SIZE


def test_wrong_bytes_are_thrown_away(server: Server, path: Path) -> None:
  server.replies(Reply(OTHER))
  line = refused(server, path)
  other = hashlib.md5(OTHER).hexdigest()
  assert line == f'{server.url}/file.npz: has md5 {other} instead of {MD5}: thrown away'
  assert names(path) == set()


@pytest.mark.parametrize('data', [DATA[:-1], DATA + b'x'])
def test_a_file_of_another_length_is_not_begun(server: Server, path: Path, data: bytes) -> None:
  server.replies(Reply(data))
  line = refused(server, path)
  assert line == f'{server.url}/file.npz: has {len(data)} bytes instead of {SIZE}'


def test_longer_than_it_should_be_without_a_length(server: Server, path: Path) -> None:
  server.replies(Reply(DATA + b'x', has_length=False))
  assert refused(server, path).endswith(f'has more than {SIZE} bytes: thrown away')
  assert names(path) == set()


def test_shorter_than_it_should_be_without_a_length(server: Server, path: Path) -> None:
  server.replies(Reply(DATA[:-1], etag='"one"', has_length=False))
  assert f'has {SIZE - 1} bytes instead of {SIZE}' in refused(server, path)


@pytest.mark.parametrize('size', [SIZE, None])
def test_without_a_length(server: Server, path: Path, size: int | None) -> None:
  server.replies(WHOLE._replace(has_length=False))
  fetch(server, path, size=size)
  assert path.read_bytes() == DATA


def test_breaks_without_a_length(server: Server, path: Path) -> None:
  server.replies(WHOLE._replace(has_length=False, stops_after=1000), WHOLE)
  fetch(server, path)
  assert path.read_bytes() == DATA
  assert server.sent == SIZE


def test_with_nothing_known(server: Server, path: Path) -> None:
  server.replies(WHOLE._replace(stops_after=1000), WHOLE)
  fetch(server, path, size=None, md5=None)
  assert path.read_bytes() == DATA
  assert server.sent == SIZE


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


def test_the_progress(server: Server, path: Path) -> None:
  told: list[tuple[int, int | None]] = []
  server.replies(WHOLE._replace(stops_after=1000), WHOLE)
  download(
    server.url, path, size=SIZE, progress=lambda *progress: told.append(progress), patience=HASTY
  )
  assert told[0] == (1000, SIZE)
  assert told[-1] == (SIZE, SIZE)
  assert told == sorted(told)


def test_the_progress_is_shown_on_stderr(
  server: Server, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  fetch(server, path)
  out, err = capsys.readouterr()
  assert not out
  assert err.splitlines()[-1].startswith('file.npz: 100 %, 0.3 of 0.3 MB, ')


def test_offline(server: Server, path: Path) -> None:
  with pytest.raises(InputError) as told:
    download(server.url, path, offline=True)
  assert str(told.value) == (
    f'{path}: is not there, and downloads are off: fetch {server.url} with a browser and put it at '
    'that path, or give the file of weights itself, wherever it is'
  )
  path.parent.mkdir()
  path.write_bytes(DATA)
  assert download(server.url, path, size=SIZE, md5=MD5, offline=True) == path
  path.write_bytes(DATA[:-1])
  with pytest.raises(InputError, match=f'has {SIZE - 1} bytes instead of {SIZE}, and downloads'):
    download(server.url, path, size=SIZE, md5=MD5, offline=True)
  assert not server.requests


def test_a_file_of_another_size_is_replaced(server: Server, path: Path) -> None:
  path.parent.mkdir()
  path.write_bytes(DATA[:-1])
  fetch(server, path)
  assert path.read_bytes() == DATA


def test_the_md5_of_a_file_that_is_there(server: Server, path: Path) -> None:
  path.parent.mkdir()
  path.write_bytes(OTHER)
  assert fetch(server, path) == path
  with pytest.raises(InputError, match=f'instead of {MD5}: remove it'):
    download(server.url, path, size=SIZE, md5=MD5, verify=True)
  path.write_bytes(DATA)
  assert download(server.url, path, size=SIZE, md5=MD5, verify=True) == path
  check(path, MD5)
  assert not server.requests
  with pytest.raises(InputError, match='cannot be read'):
    check(path.with_name('other'), MD5)


PROGRAM = """
import sys
from nfnets.weights.downloads import download
url, path, md5 = sys.argv[1:]
print(flush=True)
download(url, path, md5=md5)
"""


def process(server: Server, path: Path) -> subprocess.Popen[str]:
  """Another process that downloads the file."""
  arguments = [sys.executable, '-c', PROGRAM, f'{server.url}/file.npz', str(path), MD5]
  return subprocess.Popen(
    arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )


def wait_for(path: Path, size: int) -> None:
  deadline = time.monotonic() + 60
  while not path.exists() or path.stat().st_size < size:
    assert time.monotonic() < deadline
    time.sleep(0.01)


def test_a_killed_process_leaves_what_has_come(server: Server, path: Path) -> None:
  server.replies(WHOLE._replace(stops_after=100_000, hangs=True), WHOLE)
  part = path.with_name('file.npz.part')
  with process(server, path) as killed:
    wait_for(part, 65_536)  # what is less than a buffer is lost
    killed.send_signal(signal.SIGKILL)
  assert not path.exists()
  had = part.stat().st_size
  assert had <= 100_000
  fetch(server, path)
  assert path.read_bytes() == DATA
  assert server.ranges() == [None, f'bytes={had}-']
  assert server.sent == 100_000 + SIZE - had
  assert names(path) == {'file.npz'}  # the lock that the killed process left, too


@pytest.mark.slow  # two processes that import JAX
def test_two_processes_download_once(server: Server, path: Path) -> None:
  with process(server, path) as first, process(server, path) as second:
    for line in (first.communicate(timeout=60), second.communicate(timeout=60)):
      assert 'Error' not in line[1]
  assert first.returncode == second.returncode == 0
  assert path.read_bytes() == DATA
  assert server.ranges() == [None]


def test_many_at_once_wait_for_the_first(server: Server, path: Path) -> None:
  server.replies(WHOLE._replace(stops_after=1000), WHOLE)
  started = threading.Barrier(8)
  told: list[tuple[int, int | None]] = []

  def one() -> None:
    started.wait()
    download(server.url, path, md5=MD5, patience=HASTY, progress=lambda *now: told.append(now))

  threads = [threading.Thread(target=one) for _ in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert path.read_bytes() == DATA
  assert server.sent == SIZE
  assert told == sorted(told)
  assert names(path) == {'file.npz'}


def test_a_lock_that_was_removed_meanwhile_is_none(
  path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  path.parent.mkdir()
  lock = path.with_name('file.npz.lock')
  waited = []

  def wait_for(*file: object) -> None:
    waited.append(file)
    if len(waited) == 1:
      lock.unlink()  # as the process before does on leaving

  monkeypatch.setattr(part_files, '_wait_for', wait_for)
  with part_files.locked(path):
    assert lock.exists()
  assert len(waited) == 2
  assert not lock.exists()


def test_works_where_nothing_can_be_locked(
  server: Server, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
  def flock(*_: object) -> None:
    raise OSError(errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(part_files.fcntl, 'flock', flock)
  fetch(server, path)
  assert path.read_bytes() == DATA
  assert caplog.messages == [f'{path}: cannot be locked: No locks available']


def test_ctrl_c_leaves_no_file_that_looks_whole(server: Server, path: Path) -> None:
  def interrupt(done: int, total: int | None) -> None:
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    download(server.url, path, md5=MD5, progress=interrupt, patience=HASTY)
  assert names(path) == {'file.npz.part', 'file.npz.part.from'}
  had = path.with_name('file.npz.part').stat().st_size
  assert had > 0
  fetch(server, path)
  assert path.read_bytes() == DATA
  assert server.ranges()[1:] == ([f'bytes={had}-'] if had < SIZE else [])


def test_all_came_but_its_name(server: Server, path: Path) -> None:
  path.parent.mkdir()
  path.with_name('file.npz.part').write_bytes(DATA)
  fetch(server, path)
  assert not server.requests
  path.rename(path.with_name('file.npz.part'))
  fetch(server, path, size=None)  # the server tells that there is no more
  assert path.read_bytes() == DATA
  assert server.ranges() == [f'bytes={SIZE}-']
  assert server.sent == 0


def test_a_part_that_is_too_long(server: Server, path: Path) -> None:
  path.parent.mkdir()
  path.with_name('file.npz.part').write_bytes(DATA + b'x')
  fetch(server, path)
  assert path.read_bytes() == DATA


def test_a_part_that_is_damaged(server: Server, path: Path) -> None:
  path.parent.mkdir()
  path.with_name('file.npz.part').write_bytes(OTHER[:1000])
  fetch(server, path)
  assert path.read_bytes() == DATA
  assert server.ranges() == ['bytes=1000-', None]


class FullDisk(io.FileIO):
  """A file that has room for a little more."""

  def write(self, data: bytes) -> int:
    super().write(data[:500])
    raise OSError(errno.ENOSPC, 'No space left on device')


def test_a_full_disk(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  with monkeypatch.context() as patched:
    patched.setattr(part_files, 'open', FullDisk, raising=False)
    line = refused(server, path)
  assert line == f'{path}: the disk is full; what has come stays in {path}.part'
  fetch(server, path)
  assert path.read_bytes() == DATA
  assert server.ranges() == [None, 'bytes=500-']


def test_a_file_that_will_not_fit_is_not_begun(
  server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  usage = transfers.shutil.disk_usage('/')
  monkeypatch.setattr(transfers.shutil, 'disk_usage', lambda _: usage._replace(free=1000))
  line = refused(server, path)
  assert line == f'{path.parent}: {SIZE:,} bytes are to come and only 1,000 are free'


def test_a_folder_that_cannot_be_written(
  server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  def read_only(*_: object) -> None:
    raise OSError(errno.EROFS, 'Read-only file system')

  with monkeypatch.context() as patched:
    patched.setattr(Path, 'open', read_only)
    line = refused(server, path)
  assert 'cannot be written: Read-only file system; NFNETS_CACHE=DIR names another' in line
  path.parent.rmdir()
  path.parent.write_text('a file')
  assert 'cannot be written: ' in refused(server, path)


def test_a_file_in_a_folder_that_cannot_be_written(server: Server, path: Path) -> None:
  path.parent.mkdir()
  path.write_bytes(DATA)
  path.parent.chmod(0o555)
  before = path.parent.stat()
  try:
    assert fetch(server, path) == path
    assert download(server.url, path, md5=MD5, verify=True) == path
  finally:
    path.parent.chmod(0o755)
  assert path.parent.stat().st_mtime_ns == before.st_mtime_ns  # root can write everywhere
