"""Commands that crash are started again: small scripts stand in for the run."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nfnets.training.supervisor import Supervisor

ROOT = Path(__file__).parents[2]
FINAL = {0, 1, 2, 130}


def supervisor(folder: Path, child: str, restarts: int = 2, wait: float = 0.0) -> Supervisor:
  """Of a script which knows how often it was started: `start` is 1 at first; `save(step)`."""
  script = f"""
import os, signal, sys, time
def save(step):
  open({str(folder / 'saved')!r}, 'w').write(str(step))
with open({str(folder / 'starts')!r}, 'a+') as file:
  file.write('x')
  file.flush()
  start = file.seek(0, 2)
{child}
"""
  return Supervisor(
    [sys.executable, '-S', '-c', script],
    restarts=restarts,
    final=FINAL,
    newest=lambda: saved(folder),
    first_wait=wait,
  )


def saved(folder: Path) -> int | None:
  file = folder / 'saved'
  return int(file.read_text() or 0) if file.exists() else None


def starts(folder: Path) -> int:
  file = folder / 'starts'
  return file.stat().st_size if file.exists() else 0


@pytest.mark.parametrize('code', sorted(FINAL))
def test_an_end_of_its_own_is_the_end(tmp_path: Path, code: int, capfd: pytest.CaptureFixture[str]):
  assert supervisor(tmp_path, f'sys.exit({code})').run() == code
  assert starts(tmp_path) == 1
  assert capfd.readouterr().err == ''


@pytest.mark.parametrize(
  ('crash', 'told'),
  [
    ('os.kill(os.getpid(), signal.SIGKILL)', 'was ended by SIGKILL'),
    ('os.abort()', 'was ended by SIGABRT'),
    ('sys.exit(70)', 'ended with exit code 70'),
    ('os._exit(75)', 'ended with exit code 75'),
  ],
)
def test_a_crash_is_started_again(
  tmp_path: Path, crash: str, told: str, capfd: pytest.CaptureFixture[str]
):
  child = f'if start == 1: save(40); {crash}\nsys.exit(0)'
  assert supervisor(tmp_path, child).run() == 0
  assert starts(tmp_path) == 2
  assert capfd.readouterr().err == f'the run {told}; restart 1 of 2, from step 40, in 0 s\n'


def test_it_gives_up_where_nothing_gets_further(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
  assert supervisor(tmp_path, 'os.kill(os.getpid(), signal.SIGKILL)').run() == 137
  assert starts(tmp_path) == 3
  assert capfd.readouterr().err.splitlines() == [
    'the run was ended by SIGKILL; restart 1 of 2, from the beginning, in 0 s',
    'the run was ended by SIGKILL; restart 2 of 2, from the beginning, in 0 s',
    'the run was ended by SIGKILL; given up after 2 restarts without a new checkpoint',
  ]


def test_a_new_checkpoint_renews_the_count(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
  """Six crashes, each after some progress; then two without, which are too many."""
  child = 'save(min(start, 6)); sys.exit(9)'
  assert supervisor(tmp_path, child, restarts=1).run() == 9
  assert starts(tmp_path) == 7
  *restarts, last = capfd.readouterr().err.splitlines()
  assert [line.split('; ')[1] for line in restarts] == [
    f'restart 1 of 1, from step {step}, in 0 s' for step in range(1, 7)
  ]
  assert 'given up' in last


def test_an_older_checkpoint_is_no_progress(tmp_path: Path):
  child = 'save(10 - start); sys.exit(9)'
  (tmp_path / 'saved').write_text('10')
  assert supervisor(tmp_path, child, restarts=1).run() == 9
  assert starts(tmp_path) == 2


def test_it_waits_twice_as_long_each_time(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
  waits: list[float] = []
  real = threading.Event.wait

  def wait(self: threading.Event, timeout: float | None = None) -> bool:
    if sys._getframe(1).f_code.co_filename.endswith('supervisor.py'):
      waits.append(timeout or 0)
      return self.is_set()
    return real(self, timeout)

  monkeypatch.setattr(threading.Event, 'wait', wait)
  supervisor(tmp_path, 'sys.exit(9)', restarts=8, wait=1.0).run()
  assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
  assert 'restart 8 of 8, from the beginning, in 60 s' in capfd.readouterr().err


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
  """Acts as soon as the condition holds."""

  def watch() -> None:
    end = time.monotonic() + 60
    while not condition():
      if time.monotonic() > end:
        return
      time.sleep(0.01)
    act()

  thread = threading.Thread(target=watch)
  thread.start()
  return thread


@pytest.mark.parametrize('one', [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_is_passed_on_and_is_the_end(tmp_path: Path, one: signal.Signals):
  """The run saves and leaves with a code that would otherwise be a crash."""
  child = f"""
def stop(signum, frame):
  save(signum)
  sys.exit(70)
signal.signal({int(one)}, stop)
save(0)
while True: time.sleep(0.05)
"""
  before = signal.getsignal(one)
  thread = when(lambda: saved(tmp_path) == 0, lambda: os.kill(os.getpid(), one))
  assert supervisor(tmp_path, child).run() == 70
  thread.join()
  assert saved(tmp_path) == one
  assert starts(tmp_path) == 1
  assert signal.getsignal(one) == before


def test_a_request_to_stop_ends_the_wait_for_a_restart(tmp_path: Path):
  begin = time.monotonic()
  thread = when(
    lambda: starts(tmp_path) == 1,
    lambda: (time.sleep(0.5), os.kill(os.getpid(), signal.SIGTERM))[1],
  )
  assert supervisor(tmp_path, 'sys.exit(9)', wait=60.0).run() == 9
  thread.join()
  assert starts(tmp_path) == 1
  assert time.monotonic() - begin < 50


def test_who_was_asked_to_end_by_others_is_not_started_again(tmp_path: Path):
  assert supervisor(tmp_path, 'os.kill(os.getpid(), signal.SIGTERM)').run() == 143
  assert starts(tmp_path) == 1


@pytest.mark.slow
def test_the_command_starts_itself_without_the_flag(tmp_path: Path):
  """Through scripts/train.py: what the run itself finds wrong is told once, and not tried again."""
  done = subprocess.run(
    [
      sys.executable, 'scripts/train.py', '--config=configs/quickstart.py', '--restart=3',
      f'--workdir={tmp_path / "run"}', '--config.data.data_dir=/no/data',
    ],
    cwd=ROOT, capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 2
  assert done.stderr.count('error: ') == 1
  assert 'restart' not in done.stderr
