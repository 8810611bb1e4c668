"""Files of the Hugging Face hub, which its own library downloads and keeps."""

import errno
import functools
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from nfnets.errors import InputError

_SHA256 = re.compile('[0-9a-f]{64}')


def address(repo: str, file: str) -> str:
  """Where a browser finds the newest version of a file."""
  return f'https://huggingface.co/{repo}/resolve/main/{file}'


def fetch(
  repo: str,
  file: str,
  *,
  offline: bool = False,
  verify: bool = False,
  endpoint: str | None = None,
  cache: str | Path | None = None,
) -> Path:
  """A file, downloaded once.

  Args:
    repo: `owner/name`.
    file: its path in there.
    offline: whether only the cache may be used.
    verify: check the SHA-256 of a file in the cache, too; of one that is downloaded it always is,
      where the hub tells it.
    endpoint: address of a mirror; by default `$HF_ENDPOINT` or `https://huggingface.co`.
    cache: folder; by default the library's own, which `$HF_HOME` moves.

  Raises:
    InputError: the file can neither be found nor downloaded, or is not the one that the hub tells
      of, or the library is not installed.
  """
  url = address(repo, file)
  try:
    from huggingface_hub import hf_hub_download
  except ImportError as error:
    raise InputError(
      f"{repo}: huggingface_hub is not installed: pip install 'nfnets[hub]', or fetch {url} with a "
      'browser and give the file of weights itself'
    ) from error
  get = functools.partial(hf_hub_download, repo, file, endpoint=endpoint, cache_dir=cache)
  # First: with a file in its cache the library would still ask the server for a newer one.
  path = _cached(get, repo)
  if path is None and offline:
    raise InputError(
      f'{repo}: is not in the cache of huggingface_hub, and downloads are off: fetch {url} with a '
      'browser and give the file of weights itself'
    )
  if path is None or verify:
    path = path or _downloaded(get, url)
    _check(path, url)
  return path


def _cached(get: Callable[..., str], repo: str) -> Path | None:
  try:
    return Path(get(local_files_only=True))
  except FileNotFoundError:
    return None
  except OSError as error:
    raise InputError(f'{repo}: its cache cannot be read: {error}') from error


def _downloaded(get: Callable[..., str], url: str) -> Path:
  try:
    return Path(get())
  except Exception as error:  # the library has two ways to download; each raises what it likes
    raise InputError(
      f'{url}: {_reason(error)}; if a browser can fetch it, on any machine, give the '
      'file of weights itself'
    ) from error


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
  """Compares a file with the SHA-256 that the cache calls it by."""
  blob = path.parent / os.readlink(path) if path.is_symlink() else path
  if not _SHA256.fullmatch(blob.name):
    return
  with path.open('rb') as file:
    found = hashlib.file_digest(file, 'sha256').hexdigest()
  if found != blob.name:
    path.unlink()
    blob.unlink(missing_ok=True)
    raise InputError(f'{url}: has SHA-256 {found} instead of {blob.name}: thrown away')
