"""Getting the released weights: downloaded once, used from the cache ever after."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from nfnets.cache import cache_folder
from nfnets.errors import InputError
from nfnets.weights import deepmind, huggingface, timm_hub
from nfnets.weights.downloads import download
from nfnets.weights.offline import is_offline
from nfnets.weights.transfers import Report

_OFFLINE = 'NFNETS_OFFLINE'
_T = TypeVar('_T')


def fetch_deepmind(
  name: str, *, offline: bool | None = None, verify: bool = False, progress: Report | None = None
) -> Path:
  """The file of DeepMind with the weights of a network, in `cache_folder()`.

  Args:
    name: `nfnet_f0` to `nfnet_f6`.
    offline: whether only the cache may be used; by default `$NFNETS_OFFLINE` says it.
    verify: check the md5 of a file in the cache, too; of one that is downloaded it always is.
    progress: is told the bytes so far and in all; by default they are shown on stderr.

  Raises:
    InputError: there are no such weights, or they can neither be found nor downloaded.
  """
  released = _weights_of(name, 'deepmind', deepmind.RELEASED)
  return download(
    released.url,
    cache_folder() / released.file,
    size=released.size,
    md5=released.md5,
    offline=is_offline(offline, _OFFLINE),
    verify=verify,
    progress=progress,
  )


def fetch_timm(
  name: str,
  *,
  offline: bool | None = None,
  verify: bool = False,
  endpoint: str | None = None,
  cache: str | Path | None = None,
) -> Path:
  """The safetensors file of timm with the weights of a network, in the cache of huggingface_hub.

  That library downloads, goes on after a broken connection and shows the progress.

  Args:
    name: one of `timm_hub.RELEASED`.
    offline: whether only the cache may be used; by default `$NFNETS_OFFLINE` or `$HF_HUB_OFFLINE`
      says it.
    verify: check the SHA-256 of a file in the cache, too; of one that is downloaded it always is.
    endpoint: address of a mirror; by default `$HF_ENDPOINT` or `https://huggingface.co`.
    cache: folder; by default huggingface_hub's own, which `$HF_HOME` moves.

  Raises:
    InputError: there are no such weights, they can neither be found nor downloaded, or
      huggingface_hub is not installed.
  """
  released = _weights_of(name, 'timm', timm_hub.RELEASED)
  return huggingface.fetch(
    released.repo,
    timm_hub.FILE,
    offline=is_offline(offline, _OFFLINE, 'HF_HUB_OFFLINE'),
    verify=verify,
    endpoint=endpoint,
    cache=cache,
  )


def _weights_of(name: str, source: str, released: Mapping[str, _T]) -> _T:
  if name not in released:
    raise InputError(f'source={source!r} has no weights of {name!r}, but of {", ".join(released)}')
  return released[name]
