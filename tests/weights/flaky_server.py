"""A web server on this machine that can be told to misbehave."""

import contextlib
import http.server
import threading
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Reply(NamedTuple):
  """How the server answers one request."""

  data: bytes = b''
  status: int = 200
  etag: str = ''
  """With its quotes; the server then minds `If-Range`."""
  ranges: bool = True
  """Whether it minds `Range`."""
  minds_if_range: bool = True
  stops_after: int | None = None
  """How many bytes it sends before the connection breaks."""
  hangs: bool = False
  """Whether it then keeps the connection and says nothing more."""
  has_length: bool = True
  """Whether it tells how many bytes will come."""
  headers: Mapping[str, str] = {}


class Request(NamedTuple):
  """What the server was asked for."""

  method: str
  target: str
  range: str | None
  if_range: str | None


class Server(http.server.ThreadingHTTPServer):
  """Gives its replies in turn, the last one for ever."""

  daemon_threads = True
  block_on_close = False

  def __init__(self) -> None:
    super().__init__(('127.0.0.1', 0), _Handler)
    self.url = f'http://127.0.0.1:{self.server_port}'
    self.requests: list[Request] = []
    self.sent = 0
    """Bytes of files."""
    self.closing = threading.Event()
    self._replies = [Reply()]
    self._turn = threading.Lock()

  def replies(self, *replies: Reply) -> None:
    """What it answers to the next requests."""
    self._replies = list(replies)

  def next_reply(self, request: Request) -> Reply:
    with self._turn:
      self.requests.append(request)
      # A HEAD asks about what the next GET will bring.
      is_used = request.method == 'GET' and len(self._replies) > 1
      return self._replies.pop(0) if is_used else self._replies[0]

  def count(self, data: bytes) -> None:
    with self._turn:
      self.sent += len(data)

  def ranges(self) -> list[str | None]:
    """The ranges that were asked for, in turn."""
    return [request.range for request in self.requests if request.method == 'GET']

  def handle_error(self, request: object, client_address: object) -> None:
    """A client that goes away is no news."""


@contextlib.contextmanager
def serving() -> Iterator[Server]:
  """A server that runs in a thread."""
  with Server() as server:
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
      yield server
    finally:
      server.closing.set()
      server.shutdown()
      thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
  server: Server

  def do_HEAD(self) -> None:
    self._begin()

  def do_GET(self) -> None:
    reply, body = self._begin()
    part = body[: reply.stops_after]
    self.server.count(part)  # before the client can have them
    self.wfile.write(part)
    if reply.hangs:
      self.wfile.flush()
      self.server.closing.wait(30)

  def _begin(self) -> tuple[Reply, bytes]:
    range_, if_range = self.headers['Range'], self.headers['If-Range']
    reply = self.server.next_reply(Request(self.command, self.path, range_, if_range))
    start = int(range_[len('bytes=') : -1]) if range_ and reply.ranges else 0
    if reply.minds_if_range and if_range not in (None, reply.etag):
      start = 0
    size = len(reply.data)
    status = reply.status
    if start and status == 200:
      status = 206 if start < size else 416
    self.send_response(status)
    if status == 206:
      self.send_header('Content-Range', f'bytes {start}-{size - 1}/{size}')
    if status == 416:
      self.send_header('Content-Range', f'bytes */{size}')
    if reply.has_length:
      self.send_header('Content-Length', str(max(0, size - start)))
    if reply.etag:
      self.send_header('ETag', reply.etag)
    for name, value in reply.headers.items():
      self.send_header(name, value)
    self.end_headers()
    return reply, reply.data[start:]

  def log_message(self, *args: object) -> None:
    """Nothing."""
