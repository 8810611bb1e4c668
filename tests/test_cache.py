"""Where files are kept between processes."""

from pathlib import Path

import pytest

from nfnets.cache import cache_folder
from nfnets.errors import InputError


@pytest.mark.parametrize(
  ('own', 'xdg', 'folder'),
  [
    ('/a', '/b', '/a'),
    ('~/a', '/b', '/home/me/a'),
    ('', '/b', '/b/nfnets'),
    ('', 'relative', '/home/me/.cache/nfnets'),
    ('', '', '/home/me/.cache/nfnets'),
  ],
)
def test_the_folder(monkeypatch: pytest.MonkeyPatch, own: str, xdg: str, folder: str) -> None:
  monkeypatch.setenv('HOME', '/home/me')
  monkeypatch.setenv('NFNETS_CACHE', own)
  monkeypatch.setenv('XDG_CACHE_HOME', xdg)
  assert cache_folder() == Path(folder)


def test_nobodys_home(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setenv('NFNETS_CACHE', '~nobody-of-this-name/cache')
  with pytest.raises(InputError, match='set NFNETS_CACHE'):
    cache_folder()
