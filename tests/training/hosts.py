"""Runs of several real processes on this machine, as if each were a host of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
TIMEOUT = 400
MEASURED = {
  'images_per_second', 'step_seconds', 'input_wait',
  'device_bytes', 'device_peak_bytes', 'host_bytes',
}  # fmt: skip


def free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('', 0))
    return probe.getsockname()[1]


def place(port: int, count: int, number: int) -> list[str]:
  """The flags of one process of a run started by hand; none where it is alone."""
  if count == 1:
    return []
  return [
    f'--coordinator_address=127.0.0.1:{port}', f'--num_processes={count}',
    f'--process_id={number}', '--heartbeat_timeout=10', '--join_timeout=120',
  ]  # fmt: skip


class Run:
  """`tests/micro_train.py` as `processes` x `devices`, with what it prints."""

  def __init__(
    self, workdir: Path, data_dir: Path, processes: int, devices: int, *arguments: str,
    only: Sequence[Sequence[str]] = (),
  ):  # fmt: skip
    """Starts all; `only` holds the further arguments of single processes, in their order."""
    self.workdir, self.processes = workdir, processes
    self.dumps = workdir.with_name(f'{workdir.name}-dumps')
    self.dumps.mkdir(parents=True, exist_ok=True)
    port = free_port()
    self.all = [
      subprocess.Popen(
        [
          sys.executable, 'tests/micro_train.py', '--config=tests/micro_train.py',
          f'--workdir={workdir}', f'--config.data.data_dir={data_dir}',
          *place(port, processes, number), *arguments, *(only[number] if only else ()),
        ],
        cwd=ROOT,
        env=os.environ | {'JAX_NUM_CPU_DEVICES': str(devices), 'DUMP': str(self.dumps)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
      )
      for number in range(processes)
    ]  # fmt: skip

  def __enter__(self) -> 'Run':
    return self

  def __exit__(self, *unused: object) -> None:
    for one in self.all:
      one.kill()
      one.communicate()

  def end(self) -> list[tuple[int, str, str]]:
    """Waits for all: exit code, what was printed, what was told on stderr."""
    ends = [(one, *one.communicate(timeout=TIMEOUT)) for one in self.all]
    return [(one.returncode, out, err) for one, out, err in ends]

  def finish(self) -> str:
    """Waits for all, which must end well; what process 0 printed."""
    ends = self.end()
    assert [code for code, _, _ in ends] == [0] * self.processes, ends
    assert all('images/s' not in out and 'done' not in out for _, out, _ in ends[1:])
    return ends[0][1]

  def wait_for_step(self, step: int) -> None:
    end = time.monotonic() + TIMEOUT
    while not any(line['step'] >= step for line in lines(self.workdir)):
      assert all(one.poll() is None for one in self.all), self.end()
      assert time.monotonic() < end
      time.sleep(0.02)

  def kill(self, number: int) -> None:
    self.all[number].send_signal(signal.SIGKILL)


@contextlib.contextmanager
def finished(*arguments: Any) -> Iterator[Run]:
  with Run(*arguments) as run:
    run.finish()
    yield run


def lines(workdir: Path, kind: str | None = None) -> list[dict[str, Any]]:
  """Of the metrics, as they are written."""
  path = workdir / 'metrics.jsonl'
  text = path.read_text() if path.exists() else ''
  found = [json.loads(line) for line in text.split('\n')[:-1]]
  return [line for line in found if kind in (None, line['kind'])]


def values(workdir: Path) -> list[dict[str, Any]]:
  """The metrics that are computed and not measured."""
  return [
    {name: value for name, value in line.items() if name not in MEASURED}
    for line in lines(workdir)
    if line['kind'] in ('train', 'eval')
  ]


def states(dumps: Path, step: int) -> list[list[np.ndarray]]:
  """The leaves of the state after a step, as each device of each process has it."""
  found = []
  for file in sorted(dumps.glob(f'*-{step}.npz')):
    with np.load(file) as dump:
      devices = {name.split('/')[1] for name in dump.files}
      count = len(dump.files) // len(devices)
      found += [[dump[f'{leaf}/{device}'] for leaf in range(count)] for device in sorted(devices)]
  return found


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
  """Bit for bit."""
  assert len(one) == len(other) > 10
  for a, b in zip(one, other, strict=True):
    assert a.dtype == b.dtype
    assert a.tobytes() == b.tobytes()
