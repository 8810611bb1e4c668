"""The released weights, from a server on this machine that stands for those of the world."""

import hashlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.file_download
import numpy as np
import pytest
from weights.flaky_server import Reply, Server, serving

import nfnets
from nfnets.errors import InputError
from nfnets.weights import deepmind, safetensors, timm_hub
from nfnets.weights.hub import fetch_deepmind, fetch_timm

DATA = bytes(range(256)) * 100
SHA256 = hashlib.sha256(DATA).hexdigest()
COMMIT = '0123456789abcdef' * 2 + '01234567'
ON_THE_HUB = Reply(DATA, etag=f'"{SHA256}"', headers={'X-Repo-Commit': COMMIT})
TARGET = '/timm/test_nfnet.r160_in1k/resolve/main/model.safetensors'


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
  """No proxy, no token and nothing of the real caches."""
  for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY', 'HF_HUB_OFFLINE'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.delenv('NFNETS_OFFLINE', raising=False)
  monkeypatch.setenv('NFNETS_CACHE', str(tmp_path / 'nfnets'))
  monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', False)
  monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_DISABLE_IMPLICIT_TOKEN', True)
  huggingface_hub.close_session()
  # The library waits for half a minute, all in all, before it gives up.
  monkeypatch.setattr(time, 'sleep', lambda seconds: None)


@pytest.fixture
def server() -> Iterator[Server]:
  with serving() as server:
    server.replies(ON_THE_HUB)
    yield server
  huggingface_hub.close_session()


@pytest.fixture
def released(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
  """A server that has DeepMind's F0, which is small here."""
  f0 = deepmind.Released('F0_haiku.npz', hashlib.md5(DATA).hexdigest(), len(DATA))
  monkeypatch.setitem(deepmind.RELEASED, 'nfnet_f0', f0)
  url = property(lambda released: f'{server.url}/dm-nfnets/{released.file}')
  monkeypatch.setattr(deepmind.Released, 'url', url)
  return server


def test_deepminds_is_downloaded_once(released: Server, tmp_path: Path) -> None:
  path = fetch_deepmind('nfnet_f0')
  assert path == tmp_path / 'nfnets' / 'F0_haiku.npz'
  assert path.read_bytes() == DATA
  assert fetch_deepmind('nfnet_f0', verify=True) == path
  assert [request.target for request in released.requests] == ['/dm-nfnets/F0_haiku.npz']


def test_deepminds_is_checked(released: Server) -> None:
  released.replies(Reply(DATA[::-1]))
  with pytest.raises(InputError, match='thrown away'):
    fetch_deepmind('nfnet_f0')
  released.replies(ON_THE_HUB)
  path = fetch_deepmind('nfnet_f0')
  path.write_bytes(DATA[::-1])
  with pytest.raises(InputError, match='remove it to download it again'):
    fetch_deepmind('nfnet_f0', verify=True)


def test_deepminds_progress_is_told(released: Server) -> None:
  told: list[tuple[int, int | None]] = []
  fetch_deepmind('nfnet_f0', progress=lambda *now: told.append(now))
  assert told[-1] == (len(DATA), len(DATA))


def test_deepminds_offline(released: Server, monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv('NFNETS_OFFLINE', '1')
  with pytest.raises(InputError, match='is not there, and downloads are off'):
    fetch_deepmind('nfnet_f0')
  path = fetch_deepmind('nfnet_f0', offline=False)
  assert fetch_deepmind('nfnet_f0') == path
  assert len(released.requests) == 1


@pytest.mark.parametrize(
  ('fetch', 'name', 'message'),
  [
    (
      fetch_deepmind,
      'nfnet_f7',
      r"'deepmind' has no weights of 'nfnet_f7', but of .*nfnet_f6",
    ),
    (fetch_timm, 'eca_nfnet_l3', r"'timm' has no weights of 'eca_nfnet_l3', but of .*eca_nfnet_l2"),
  ],
)
def test_without_released_weights(fetch: object, name: str, message: str) -> None:
  with pytest.raises(InputError, match=message):
    fetch(name)


def get(
  server: Server, tmp_path: Path, *, offline: bool | None = None, verify: bool = False
) -> Path:
  cache = tmp_path / 'huggingface'
  return fetch_timm('test_nfnet', offline=offline, verify=verify, endpoint=server.url, cache=cache)


def refused(server: Server, tmp_path: Path) -> str:
  with pytest.raises(InputError) as caught:
    get(server, tmp_path)
  (line,) = str(caught.value).splitlines()
  assert line.startswith(timm_hub.RELEASED['test_nfnet'].url)
  assert 'give the file of weights itself' in line
  return line


def test_timms_is_downloaded_once(server: Server, tmp_path: Path) -> None:
  path = get(server, tmp_path)
  assert path.read_bytes() == DATA
  assert path.is_relative_to(tmp_path / 'huggingface' / 'models--timm--test_nfnet.r160_in1k')
  assert [(request.method, request.target) for request in server.requests] == [
    ('HEAD', TARGET),
    ('GET', TARGET),
  ]
  assert get(server, tmp_path) == path
  assert get(server, tmp_path, offline=True) == path
  assert len(server.requests) == 2


def test_timms_goes_on_where_the_connection_broke(
  server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  # Less than a chunk is thrown away; it is of 10 MB.
  monkeypatch.setattr(huggingface_hub.constants, 'DOWNLOAD_CHUNK_SIZE', 500)
  server.replies(ON_THE_HUB._replace(stops_after=1000), ON_THE_HUB)
  assert get(server, tmp_path).read_bytes() == DATA
  assert server.ranges() == [None, 'bytes=1000-']
  assert server.sent == len(DATA)


def test_timms_wrong_bytes_are_thrown_away(server: Server, tmp_path: Path) -> None:
  server.replies(ON_THE_HUB._replace(data=DATA[::-1]))
  with pytest.raises(InputError, match=f'instead of {SHA256}: thrown away'):
    get(server, tmp_path)
  assert not [path for path in tmp_path.rglob('model.safetensors') if path.is_symlink()]
  server.replies(ON_THE_HUB)
  assert get(server, tmp_path).read_bytes() == DATA


def test_timms_in_the_cache_is_checked_when_asked_for(server: Server, tmp_path: Path) -> None:
  path = get(server, tmp_path)
  assert get(server, tmp_path, verify=True) == path
  path.write_bytes(DATA[::-1])
  assert get(server, tmp_path) == path
  with pytest.raises(InputError, match=f'instead of {SHA256}: thrown away'):
    get(server, tmp_path, verify=True)
  assert get(server, tmp_path, offline=False).read_bytes() == DATA
  assert len(server.ranges()) == 2


def test_timms_is_read_as_what_it_is(server: Server, tmp_path: Path) -> None:
  tensors = {'stem.conv1.weight': np.arange(6, dtype=np.float32)}
  safetensors.write(tmp_path / 'own', tensors, {'format': 'pt'})
  data = (tmp_path / 'own').read_bytes()
  server.replies(ON_THE_HUB._replace(data=data, etag=f'"{hashlib.sha256(data).hexdigest()}"'))
  read, _ = safetensors.read(get(server, tmp_path))
  np.testing.assert_array_equal(read['stem.conv1.weight'], tensors['stem.conv1.weight'])


@pytest.mark.parametrize('variable', ['NFNETS_OFFLINE', 'HF_HUB_OFFLINE'])
def test_timms_offline(
  server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
  monkeypatch.setenv(variable, '1')
  with pytest.raises(InputError) as caught:
    get(server, tmp_path)
  assert not server.requests
  assert str(caught.value) == (
    'timm/test_nfnet.r160_in1k: is not in the cache of huggingface_hub, and downloads are off: '
    f'fetch https://huggingface.co{TARGET} with a browser and give the file of weights itself'
  )


@pytest.mark.parametrize(
  ('reply', 'reason'),
  [
    (Reply(status=404, headers={'X-Error-Code': 'RepoNotFound'}), 'RepositoryNotFoundError: 404'),
    (Reply(status=404, headers={'X-Error-Code': 'EntryNotFound'}), 'EntryNotFoundError: 404'),
    (Reply(status=403), '403'),
    (Reply(status=503), '503'),
    (Reply(DATA, etag='"x"'), 'FileMetadataError'),
    (ON_THE_HUB._replace(stops_after=0), 'peer closed connection'),
  ],
)
def test_timms_is_refused(server: Server, tmp_path: Path, reply: Reply, reason: str) -> None:
  server.replies(reply)
  assert reason in refused(server, tmp_path)


def test_timms_without_a_network(tmp_path: Path) -> None:
  with serving() as gone:
    pass
  assert 'ConnectError: ' in refused(gone, tmp_path)


def test_timms_on_a_full_disk(
  server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  def full(*_: object, **__: object) -> None:
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(huggingface_hub.file_download, 'http_get', full)
  assert ': the disk is full; ' in refused(server, tmp_path)


def test_timms_cache_cannot_be_read(server: Server, tmp_path: Path) -> None:
  path = get(server, tmp_path)
  ref = path.parents[2] / 'refs' / 'main'
  ref.unlink()
  ref.symlink_to('/proc/self/mem')  # not even root can read its first byte
  with pytest.raises(InputError, match='its cache cannot be read: '):
    get(server, tmp_path)


def test_timms_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  with pytest.raises(InputError, match=r"not installed: pip install 'nfnets\[hub\]'"):
    fetch_timm('test_nfnet')


def test_the_tables_name_networks_of_ours() -> None:
  assert set(deepmind.RELEASED) | set(timm_hub.RELEASED) <= set(nfnets.list_models())
  assert len(timm_hub.RELEASED) == 14
