import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest
from training.hosts import free_port

from nfnets.errors import InputError
from nfnets.training import distributed
from nfnets.training.distributed import Place, join, leave, make_place

ROOT = Path(__file__).parents[2]


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
  """What JAX is told to join, and with which place; it joins nothing."""
  calls: list[dict[str, Any]] = []

  def initialize(*place: Any, **options: Any) -> None:
    calls.append(options | {'place': place})

  monkeypatch.setattr(jax.distributed, 'initialize', initialize)
  for name in ('SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE'):
    monkeypatch.delenv(name, raising=False)
  return calls


def refuse(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
  def initialize(**options: Any) -> None:
    raise error

  monkeypatch.setattr(jax.distributed, 'initialize', initialize)


NO_CLUSTER = ValueError('coordinator_address should be defined.')  # as JAX says it


@pytest.mark.slow
def test_jax_says_so_where_there_is_no_cluster():
  program = 'import jax; jax.distributed.initialize()'
  done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
  assert done.stderr.splitlines()[-1] == f'ValueError: {NO_CLUSTER}'


def test_without_a_cluster_it_goes_on_alone(joined: list, monkeypatch: pytest.MonkeyPatch):
  refuse(monkeypatch, NO_CLUSTER)
  join('auto')


def test_a_cluster_that_must_be_there_is_missed(joined: list, monkeypatch: pytest.MonkeyPatch):
  refuse(monkeypatch, NO_CLUSTER)
  with pytest.raises(InputError, match=r'^distributed=on: no cluster is recognised here; give '):
    join('on')


@pytest.mark.parametrize('how', ['auto', 'on'])
def test_what_jax_finds_wrong_is_told_in_one_line(
  joined: list, monkeypatch: pytest.MonkeyPatch, how: str
):
  refuse(monkeypatch, RuntimeError('no\n  controller'))
  with pytest.raises(InputError, match=f'^distributed={how}: RuntimeError: no controller; give '):
    join(how)


def test_a_cluster_is_joined(joined: list[dict[str, Any]]):
  join('auto', wait=20, heartbeat=30)
  (call,) = joined
  assert call['place'] == ()
  assert call['heartbeat_timeout_seconds'] == 30
  assert call['initialization_timeout'] > 20  # it would abort before we could say a word


@pytest.mark.parametrize('name', ['SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE'])
def test_one_process_is_no_cluster(joined: list, monkeypatch: pytest.MonkeyPatch, name: str):
  """JAX would join it, and leave it one GPU of its machine."""
  monkeypatch.setenv(name, '1')
  join('auto')
  assert not joined
  monkeypatch.setenv(name, '2')
  join('auto')
  assert len(joined) == 1


def test_off_joins_nothing(joined: list):
  join('off')
  assert not joined


def test_a_place_by_hand_is_taken(joined: list[dict[str, Any]]):
  join('auto', Place('10.0.0.1:8476', 4, 3))
  (call,) = joined
  assert call['place'] == ('10.0.0.1:8476', 4, 3)
  assert call['cluster_detection_method'] == 'deactivate'  # it keeps all devices of its machine


@pytest.mark.parametrize(
  ('how', 'place', 'message'),
  [
    ('yes', None, "^distributed='yes' is not one of auto, on, off$"),
    ('off', Place('a:1', 2, 0), '^distributed=off starts no other process'),
    ('auto', Place('10.0.0.1', 2, 0), r"^coordinator_address='10\.0\.0\.1' is not host:port"),
    ('auto', Place(':80', 2, 0), "^coordinator_address=':80' is not host:port"),
    ('auto', Place('a:99999', 2, 0), "^coordinator_address='a:99999' is not host:port"),
    ('auto', Place('a:port', 2, 0), "^coordinator_address='a:port' is not host:port"),
    ('auto', Place('a:1', 0, 0), '^num_processes=0 is less than 1$'),
    ('auto', Place('a:1', 2, 2), r'^process_id=2 is not in 0\.\.1 \(num_processes=2\)$'),
    ('auto', Place('a:1', 2, -1), r'^process_id=-1 is not in 0\.\.1 '),
  ],
)
def test_a_wrong_argument_is_named(joined: list, how: str, place: Place | None, message: str):
  with pytest.raises(InputError, match=message):
    join(how, place)
  assert not joined


def test_a_port_that_is_taken_is_named(joined: list):
  with socket.socket(socket.AF_INET6) as other:
    other.bind(('::', 0))
    other.listen()
    address = f'localhost:{other.getsockname()[1]}'
    with pytest.raises(InputError, match=f"^coordinator_address='{address}': process 0 cannot li"):
      join('auto', Place(address, 2, 0))
    assert not joined
    join('auto', Place(address, 2, 1))  # which does not listen
  assert len(joined) == 1


def test_the_flags_of_a_place_come_together():
  assert make_place(None, None, None) is None
  assert make_place('a:1', 2, 0) == Place('a:1', 2, 0)
  with pytest.raises(InputError, match=r'^num_processes and process_id missing: a process started'):
    make_place('a:1', None, None)
  with pytest.raises(InputError, match=r'^coordinator_address missing: '):
    make_place(None, 2, 0)


@pytest.mark.parametrize('process', [pytest.param(0, marks=pytest.mark.slow), 1])
def test_where_the_others_do_not_come_it_ends_in_one_line(process: int):
  address = f'127.0.0.1:{free_port()}'
  program = (
    'from nfnets.training.distributed import Place, join\n'
    f'join("auto", Place("{address}", 2, {process}), wait=1)'
  )
  environment = {name: value for name, value in os.environ.items() if 'proxy' not in name.lower()}
  done = subprocess.run(
    [sys.executable, '-c', program], cwd=ROOT, env=environment, capture_output=True, text=True
  )
  assert done.returncode == distributed.NOT_ALL_CAME
  assert done.stderr == (
    f'error: the processes did not all meet at {address} within 1 s; start every one of them, with '
    'the same coordinator and number of processes\n'
  )


@pytest.mark.parametrize('code', [0, 1, 2])
def test_who_is_alone_leaves_as_always(code: int):
  with pytest.raises(SystemExit) as caught:
    leave(code)
  assert caught.value.code == code
