"""Getting the released weights: downloaded once, used from the cache ever after."""

import errno
import hashlib
import os
import re
from pathlib import Path

from nfnets.errors import InputError
from nfnets.names import look_up
from nfnets.weights import deepmind, timm_hub
from nfnets.weights.cache import OFFLINE, cache_folder, is_offline
from nfnets.weights.downloads import download
from nfnets.weights.transfers import Report

_SHA256 = re.compile('[0-9a-f]{64}')


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
  released = look_up(name, deepmind.RELEASED, argument="source='deepmind', model")
  return download(
    released.url,
    cache_folder() / released.file,
    size=released.size,
    md5=released.md5,
    offline=is_offline(offline, OFFLINE),
    verify=verify,
    progress=progress,
  )


def fetch_timm(
  name: str,
  *,
  offline: bool | None = None,
  endpoint: str | None = None,
  cache: str | Path | None = None,
) -> Path:
  """The safetensors file of timm with the weights of a network, in the cache of huggingface_hub.

  That library downloads, goes on after a broken connection and shows the progress.

  Args:
    name: one of `timm_hub.RELEASED`.
    offline: whether only the cache may be used; by default `$NFNETS_OFFLINE` or `$HF_HUB_OFFLINE`
      says it.
    endpoint: address of a mirror; by default `$HF_ENDPOINT` or `https://huggingface.co`.
    cache: folder; by default huggingface_hub's own, which `$HF_HOME` moves.

  Raises:
    InputError: there are no such weights, they can neither be found nor downloaded, or
      huggingface_hub is not installed.
  """
  released = look_up(name, timm_hub.RELEASED, argument="source='timm', model")
  is_off = is_offline(offline, OFFLINE, 'HF_HUB_OFFLINE')
  try:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError
  except ImportError as error:
    raise InputError(
      f"source='timm': huggingface_hub is not installed: pip install 'nfnets[hub]', or fetch "
      f'{released.url} with a browser and use it with --weights=FILE'
    ) from error

  def get(local_files_only: bool) -> Path:
    return Path(
      huggingface_hub.hf_hub_download(
        released.repo,
        timm_hub.FILE,
        endpoint=endpoint,
        cache_dir=cache,
        local_files_only=local_files_only,
      )
    )

  try:
    # First: with a file in its cache the library would still ask the server for a newer one.
    return get(local_files_only=True)
  except LocalEntryNotFoundError as error:
    if is_off:
      raise InputError(
        f'{released.repo}: is not in the cache of huggingface_hub, and downloads are off: fetch '
        f'{released.url} with a browser and use it with --weights=FILE'
      ) from error
  except OSError as error:
    raise InputError(f'{released.repo}: its cache cannot be read: {error}') from error
  try:
    path = get(local_files_only=False)
  except Exception as error:  # its two ways to download raise whatever their libraries do
    raise InputError(
      f'{released.url}: {_reason(error)}; if a browser can fetch it, on any machine, use it with '
      '--weights=FILE'
    ) from error
  _check(path, released.url)
  return path


def _reason(error: BaseException) -> str:
  """What the library means, in one line."""
  # That a file is not in the cache comes of why the server could not be asked.
  is_missing = isinstance(error, FileNotFoundError)
  cause = error.__cause__ if is_missing and error.__cause__ else error
  if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
    return 'the disk is full'
  lines = str(cause).strip().splitlines()
  return f'{type(cause).__name__}: {lines[0]}' if lines else type(cause).__name__


def _check(path: Path, url: str) -> None:
  """Compares a file with the SHA-256 that its place in the cache is called by."""
  blob = path.parent / os.readlink(path) if path.is_symlink() else path
  if not _SHA256.fullmatch(blob.name):
    return
  with path.open('rb') as file:
    found = hashlib.file_digest(file, 'sha256').hexdigest()
  if found != blob.name:
    path.unlink()
    blob.unlink(missing_ok=True)
    raise InputError(f'{url}: has SHA-256 {found} instead of {blob.name}: thrown away')
