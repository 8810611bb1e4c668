"""One HTTP request for a file from some byte on."""

import contextlib
import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import NamedTuple

_CHUNK = 1 << 18
_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
_CONTENT_RANGE = re.compile(r'bytes (?:(\d+)-\d+|\*)/(\d+|\*)')


class Temporary(Exception):
  """Why no more bytes came; trying again may help."""


class Permanent(Exception):
  """Why no bytes will come, however often they are asked for."""


class Answer(NamedTuple):
  """What a server sends."""

  start: int
  """Which byte of the file comes first: the one asked for, or 0 if the server sends all of it."""
  total: int | None
  """The length of the whole file, where the server says it."""
  validator: str
  """A word that changes with the file; empty where the server has none."""
  chunks: Iterator[bytes]
  """The bytes; they may end early.  Raises `Temporary`."""


@contextlib.contextmanager
def asked(url: str, *, start: int, validator: str, timeout: float) -> Iterator[Answer]:
  """Asks for a file from byte `start` on; the proxies of the environment are used.

  Args:
    url: `http://` or `https://`.
    start: 0 asks for the whole file.
    validator: of an earlier answer: if the file is no longer that one, all of it is wanted.
    timeout: longest silence of the server, in seconds.

  Raises:
    Temporary: the server cannot be reached or is in trouble.
    Permanent: it has no such file or will not give it.
  """
  headers = {'User-Agent': 'nfnets'}
  if start:
    headers['Range'] = f'bytes={start}-'
    if validator:
      headers['If-Range'] = validator
  with _opened(url, headers, timeout) as response:
    yield _answer(response, start)


class _AnyStatus(urllib.request.HTTPErrorProcessor):
  """Follows redirects and takes every other answer for one."""

  def http_response(self, request, response):
    return super().http_response(request, response) if 300 <= response.status < 400 else response

  https_response = http_response


def _opened(url: str, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
  if not url.startswith(('http://', 'https://')):
    raise Permanent('it is no http:// or https:// address')
  try:
    request = urllib.request.Request(url, headers=headers)
    return urllib.request.build_opener(_AnyStatus).open(request, timeout=timeout)
  except urllib.error.HTTPError as error:
    error.close()
    raise Permanent(f'the server answers {error.code} {_one_line(error.reason)}') from error
  except (OSError, http.client.HTTPException) as error:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    is_fatal = isinstance(reason, ssl.SSLCertVerificationError)
    raise (Permanent if is_fatal else Temporary)(_one_line(reason)) from error
  except ValueError as error:
    raise Permanent(_one_line(error)) from error


def _answer(response: http.client.HTTPResponse, start: int) -> Answer:
  # A weak ETag promises no more than that the file means the same.
  etag = response.headers.get('ETag', '')
  validator = etag if etag.startswith('"') else response.headers.get('Last-Modified', '')
  found = _CONTENT_RANGE.fullmatch(response.headers.get('Content-Range', ''))
  first, total = found.groups() if found else (None, None)
  match response.status:
    case http.HTTPStatus.OK:
      return Answer(0, response.length, validator, _chunks(response))
    case http.HTTPStatus.PARTIAL_CONTENT if first == str(start):
      return Answer(start, _number(total), validator, _chunks(response))
    case http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE if start > 0:
      return Answer(start, _number(total) or 0, validator, iter(()))
  kind = Temporary if response.status in _TEMPORARY else Permanent
  raise kind(f'the server answers {response.status} {response.reason}')


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
  while True:
    try:
      # Whatever has come: when the connection breaks, nothing that came before is lost.
      chunk = response.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
      raise Temporary(_one_line(error)) from error
    if not chunk:
      return
    yield chunk


def _number(digits: str | None) -> int | None:
  return int(digits) if digits and digits != '*' else None


def _one_line(error: object) -> str:
  text = getattr(error, 'strerror', None) or str(error)
  return ' '.join(text.split()) or type(error).__name__
