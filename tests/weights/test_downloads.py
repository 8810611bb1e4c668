"""Downloads from a server on this machine that breaks connections and serves wrong bytes."""

import hashlib
from pathlib import Path

import pytest
from weights.downloading import DATA, HASTY, MD5, OTHER, SIZE, WHOLE, fetch, names, refused
from weights.flaky_server import Reply, Server

from nfnets.errors import InputError
from nfnets.weights.downloads import check, download


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
