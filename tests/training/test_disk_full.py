"""A disk that is full: a run says so in one line, and goes on from there when there is room again.

The system refuses to let a process write files beyond a size, as it would on a full disk; /dev/full
takes nothing at all.
"""

import re
import resource
import subprocess
from pathlib import Path

import pytest
from train_processes import (
  assert_same_run,
  fail,
  final_state,
  finish,
  metrics,
  saved,
  start,
  wait_for,
  wait_for_step,
)

pytestmark = pytest.mark.slow  # whole runs; what they are made of is tested in its own places
TOLD = 'run the same command again'


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
  workdir = tmp_path_factory.mktemp('unbroken') / 'run'
  finish(start(workdir, digits, {}))
  return workdir


def fill_the_disk(process: subprocess.Popen[str], room: int) -> None:
  """From now on no file of this process may be larger than `room` bytes."""
  _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
  resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, most))


def test_while_a_checkpoint_is_saved(tmp_path: Path, digits: Path, unbroken: Path):
  workdir = tmp_path / 'run'
  process = start(workdir, digits, {})
  wait_for(process, lambda: 4 in saved(workdir))
  fill_the_disk(process, 150_000)  # enough for all but the parameters
  told = fail(process, 1)
  found = re.fullmatch(
    rf'error: no space left for {workdir} \(File too large\); the last checkpoint is that of step '
    rf'(\d+): mend this and {TOLD}',
    told,
  )
  assert found, told
  newest = saved(workdir)[-1]
  assert int(found[1]) == newest < 24
  # Told at the next save, four steps later, or when the run comes to its end.
  assert newest + 4 <= metrics(workdir)[-1]['step'] <= newest + 8
  assert int(final_state(workdir).step) == newest  # whole
  assert f'goes on at step {newest} ' in finish(start(workdir, digits, {}))
  assert_same_run(workdir, unbroken)


def test_while_metrics_are_written(tmp_path: Path, digits: Path, unbroken: Path):
  workdir, options = tmp_path / 'run', {'checkpoint_every': 100}
  process = start(workdir, digits, options)
  wait_for_step(process, workdir, 2)
  fill_the_disk(process, (workdir / 'metrics.jsonl').stat().st_size + 100)  # part of a line
  assert fail(process, 1) == (
    f'error: no space left for {workdir} (File too large); nothing was saved yet: '
    f'mend this and {TOLD}'
  )
  assert 2 <= metrics(workdir)[-1]['step'] < 24  # and no line but whole ones
  finish(start(workdir, digits, options))
  assert_same_run(workdir, unbroken)


def test_where_the_output_goes(tmp_path: Path, digits: Path):
  with Path('/dev/full').open('w') as full:
    process = start(tmp_path / 'run', digits, {}, stdout=full)
    assert fail(process, 1) == (
      'error: no space left for standard output (No space left on device); nothing was saved yet: '
      f'mend this and {TOLD}'
    )
