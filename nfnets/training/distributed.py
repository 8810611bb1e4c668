"""Several processes as one run: how they find each other, and how one of them leaves."""

import contextlib
import errno
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import jax

from nfnets.errors import InputError

WAYS = ('auto', 'on', 'off')
NOT_ALL_CAME = 75
"""Exit code where the processes did not find each other in time: another try may do better."""

# Under these launchers one process is no cluster, and keeps all devices of its machine.
_COUNTS = ('SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE')
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_GRACE = 60  # seconds that JAX, which aborts when its time is up, gets more than we wait
_LAST_WORDS = 5  # seconds between a failure of process 0 and its end, with which all others end


class Place(NamedTuple):
  """What each process of a run started by hand must be told."""

  coordinator_address: str
  """Where process 0 is reached by all: host:port."""
  num_processes: int
  process_id: int


def join(
  how: str = 'auto', place: Place | None = None, *, wait: int = 300, heartbeat: int = 100
) -> None:
  """Makes this process one of a run; to be called before anything touches a device.

  Where not all processes come in time it ends this one, with one line on stderr and the exit code
  `NOT_ALL_CAME`: JAX would abort it.

  Args:
    how: 'auto' joins where JAX recognises a cluster (Cloud TPU, Slurm, Open MPI, Kubernetes) and
      goes on alone elsewhere; 'on' must find one; 'off' goes on alone.
    place: joins the processes that were started by hand.
    wait: seconds until all processes must have come.
    heartbeat: seconds after which a process that is not heard of counts as dead, and all others
      end.

  Raises:
    InputError: an argument is wrong, or there is no cluster.
  """
  if how not in WAYS:
    raise InputError(f'distributed={how!r} is not one of {", ".join(WAYS)}')
  if place is not None:
    if how == 'off':
      raise InputError('distributed=off starts no other process: leave out coordinator_address')
    _check(place)
    with _giving_up(f'at {place.coordinator_address}', wait):
      jax.distributed.initialize(
        *place,
        cluster_detection_method='deactivate',
        initialization_timeout=wait + _GRACE,
        heartbeat_timeout_seconds=heartbeat,
      )
  elif how == 'on' or (how == 'auto' and all(os.environ.get(name) != '1' for name in _COUNTS)):
    _join_cluster(how, wait, heartbeat)


def _join_cluster(how: str, wait: int, heartbeat: int) -> None:
  """Joins what JAX recognises by the environment."""
  try:
    with _giving_up('of this cluster', wait):
      jax.distributed.initialize(
        initialization_timeout=wait + _GRACE, heartbeat_timeout_seconds=heartbeat
      )
  except Exception as error:
    nothing = isinstance(error, ValueError) and 'coordinator_address' in str(error)
    if nothing and how == 'auto':
      return
    found = 'no cluster is recognised here' if nothing else _line(error)
    raise InputError(
      f'distributed={how}: {found}; give coordinator_address, num_processes and process_id, or '
      'distributed=off to go on alone'
    ) from error


def make_place(
  coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> Place | None:
  """The place of a process by its three flags; None where none is given.

  Raises:
    InputError: only some of them are given.
  """
  given = (coordinator_address, num_processes, process_id)
  if coordinator_address is not None and num_processes is not None and process_id is not None:
    return Place(coordinator_address, num_processes, process_id)
  missing = [name for name, value in zip(Place._fields, given, strict=True) if value is None]
  if len(missing) == len(given):
    return None
  raise InputError(
    f'{" and ".join(missing)} missing: a process started by hand needs all of '
    f'{", ".join(Place._fields)}'
  )


def is_first() -> bool:
  """Whether this is the process that speaks and writes for all; touches the devices."""
  return jax.process_index() == 0


def leave(code: int) -> NoReturn:
  """Ends the process with an exit code.

  One of several that fails does not wait for the others, which may wait for it: it is gone at once,
  and they notice.  Process 0, without which none can live, lets the others come to their own end
  first.
  """
  if code == 0 or not jax.distributed.is_initialized() or jax.process_count() == 1:
    sys.exit(code)
  if is_first():
    time.sleep(_LAST_WORDS)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def _check(place: Place) -> None:
  address, count, number = place
  host, _, port = address.rpartition(':')
  if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
    raise InputError(f'coordinator_address={address!r} is not host:port, such as 10.0.0.1:8476')
  if count < 1:
    raise InputError(f'num_processes={count} is less than 1')
  if not 0 <= number < count:
    raise InputError(f'process_id={number} is not in 0..{count - 1} (num_processes={count})')
  if number == 0:
    _check_free(address, int(port))


def _check_free(address: str, port: int) -> None:
  """JAX would crash where another program has the port."""
  try:
    with socket.socket(socket.AF_INET6) as probe:
      probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      probe.bind(('::', port))
  except OSError as error:
    if error.errno in _NO_IPV6:
      return
    raise InputError(
      f'coordinator_address={address!r}: process 0 cannot listen there ({error.strerror})'
    ) from None


@contextlib.contextmanager
def _giving_up(where: str, wait: int) -> Iterator[None]:
  """Ends the process where what is done in the `with` block takes longer than `wait` seconds."""

  def give_up() -> None:
    sys.stderr.write(
      f'error: the processes did not all meet {where} within {wait} s; start every one of them, '
      'with the same coordinator and number of processes\n'
    )
    sys.stderr.flush()
    os._exit(NOT_ALL_CAME)

  timer = threading.Timer(wait, give_up)
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


def _line(error: Exception) -> str:
  return f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
