"""What lies on the disk while a file comes: parts, locks, and what is left of broken downloads."""

import errno
import io
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from weights.downloading import DATA, HASTY, MD5, OTHER, SIZE, WHOLE, fetch, names, refused
from weights.flaky_server import Server

from nfnets.weights import part_files, transfers
from nfnets.weights.downloads import download

ROOT = Path(__file__).parents[2]
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
