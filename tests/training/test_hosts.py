"""Runs of several processes: the same numbers as those of one, and one end for all of them."""

import re
import signal
from pathlib import Path

import pytest
from micro_train import CHECKPOINTS, STEPS
from training.hosts import Run, assert_same, lines, states, values

WAYS = ('pmap', 'shard_map')
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def alone(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Run:
  """One process with four devices."""
  with Run(tmp_path_factory.mktemp('alone') / 'run', digits, 1, 4) as run:
    run.finish()
  return run


@pytest.fixture(scope='module')
def pair(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Run:
  """Two processes with two devices each; `pmap`."""
  with Run(tmp_path_factory.mktemp('pair') / 'run', digits, 2, 2) as run:
    assert run.finish().splitlines()[-1].startswith('done: accuracy ')
  return run


def assert_close(workdir: Path, expected: Path) -> None:
  """Metrics of another number of devices or processes."""
  got, want = values(workdir), values(expected)
  assert [(line['step'], line['kind']) for line in got] == [
    (line['step'], line['kind']) for line in want
  ]
  for one, other in zip(got, want, strict=True):
    assert one.keys() == other.keys()
    for name in one.keys() & {'loss', 'ema_loss', 'gradient_norm', 'parameter_norm'}:
      assert one[name] == pytest.approx(other[name], rel=2e-6), (one['step'], name)
    for name in one.keys() & {'accuracy', 'top5', 'examples', 'unreadable', 'bad_records'}:
      assert one[name] == other[name]


def assert_continued(run: Run, unbroken: Run) -> None:
  """Bit for bit what the run would have been without the stop."""
  assert values(run.workdir) == values(unbroken.workdir)
  for state in states(run.dumps, STEPS):
    assert_same(state, states(unbroken.dumps, STEPS)[0])


def test_every_device_of_every_process_holds_the_same_bits(pair: Run):
  for step in CHECKPOINTS:
    first, *others = states(pair.dumps, step)
    assert len(others) == 3
    for other in others:
      assert_same(first, other)


def test_two_processes_compute_what_one_does(pair: Run, alone: Run):
  assert_close(pair.workdir, alone.workdir)


def test_shard_map_over_two_processes(tmp_path: Path, digits: Path, alone: Run):
  with Run(tmp_path / 'run', digits, 2, 2, '--config.mapping=shard_map') as run:
    run.finish()
  assert_close(run.workdir, alone.workdir)
  first, *others = states(run.dumps, STEPS)
  assert len(others) == 3
  for other in others:
    assert_same(first, other)


def test_asked_to_stop_all_stop_at_the_same_step(tmp_path: Path, digits: Path, pair: Run):
  """SIGTERM to one of them, as a pod loses a host."""
  with Run(tmp_path / 'run', digits, 2, 2) as run:
    run.wait_for_step(6)
    run.all[1].send_signal(signal.SIGTERM)
    out = run.finish()
  stopped = lines(run.workdir, 'train')[-1]['step']
  assert 6 <= stopped < STEPS
  assert out.splitlines()[-1].startswith(f'stopped after step {stopped} of {STEPS}, saved in ')
  first, second = states(run.dumps, stopped)[::2]
  assert_same(first, second)
  with Run(tmp_path / 'run', digits, 2, 2) as run:
    assert f'goes on at step {stopped} of {STEPS}' in run.finish()
  assert_continued(run, pair)


@pytest.mark.parametrize('victim', [0, 1])
def test_where_one_is_killed_the_others_end(tmp_path: Path, digits: Path, pair: Run, victim: int):
  with Run(tmp_path / 'run', digits, 2, 2) as run:
    run.wait_for_step(9)
    run.kill(victim)
    codes = [code for code, _, _ in run.end()]
  assert codes[victim] == -signal.SIGKILL
  assert codes[1 - victim] in (-signal.SIGABRT, 70)
  with Run(tmp_path / 'run', digits, 2, 2) as run:
    assert re.search(rf'goes on at step (4|8|12|16|20) of {STEPS}', run.finish())
  assert_continued(run, pair)


@pytest.mark.parametrize(
  ('before', 'after'), [((2, 2), (1, 4)), ((2, 2), (4, 1)), ((1, 4), (2, 2)), ((4, 1), (2, 2))]
)
def test_another_number_of_processes_goes_on(
  tmp_path: Path, digits: Path, alone: Run, before: tuple[int, int], after: tuple[int, int]
):
  with Run(tmp_path / 'run', digits, *before) as run:
    run.wait_for_step(9)
    run.all[0].send_signal(signal.SIGTERM)
    run.finish()
  with Run(tmp_path / 'run', digits, *after) as run:
    assert 'goes on at step ' in run.finish()
  assert_close(run.workdir, alone.workdir)


def errors(run: Run) -> list[str]:
  """What each process told, one line."""
  found = []
  for _, _, err in run.end():
    (line,) = [line for line in err.splitlines() if line.startswith('error: ')]
    assert 'Traceback' not in err
    found.append(line)
  return found


def codes(run: Run) -> list[int | None]:
  return [one.returncode for one in run.all]


def test_processes_with_another_config_are_refused(tmp_path: Path, digits: Path):
  with Run(tmp_path / 'run', digits, 2, 2, only=[[], ['--config.seed=1']]) as run:
    told = errors(run)
  assert codes(run) == [2, 2]
  assert (
    told
    == [
      'error: process 1 does another run than process 0: seed=1 and not 0; start all with the same '
      'command on the same data'
    ]
    * 2
  )
  assert not (tmp_path / 'run').exists()


def test_what_one_process_cannot_use_all_are_told(tmp_path: Path, digits: Path):
  with Run(
    tmp_path / 'run', digits, 2, 2, only=[[], ['--config.data.data_dir=/no/data']]
  ) as run:  # fmt: skip
    told = errors(run)
  assert codes(run) == [2, 2]
  assert all('/no/data' in line for line in told)
  assert told[0].startswith('error: process 1: ')
  assert not (tmp_path / 'run').exists()


def test_a_folder_that_is_not_shared_is_refused(
  tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
):
  other = f'--workdir={tmp_path / "other"}'
  with Run(tmp_path / 'run', digits, 2, 2, only=[[], [other]]) as run:
    told = errors(run)
  assert codes(run) == [2, 2]
  assert all('a folder that all of them share' in line for line in told)


def test_the_folder_of_another_run_is_refused_by_all(tmp_path: Path, digits: Path):
  with Run(tmp_path / 'run', digits, 2, 2) as run:
    run.wait_for_step(5)
    run.all[0].send_signal(signal.SIGTERM)
    run.finish()
  before = {file: file.stat().st_mtime_ns for file in (tmp_path / 'run').rglob('*')}
  with Run(tmp_path / 'run', digits, 2, 2, '--config.seed=1') as run:
    told = errors(run)
  assert codes(run) == [2, 2]
  assert all('belongs to another run (seed: 0 -> 1)' in line for line in told)
  assert {file: file.stat().st_mtime_ns for file in (tmp_path / 'run').rglob('*')} == before


def test_a_run_that_diverges_ends_everywhere(tmp_path: Path, digits: Path):
  bad = ('--config.optimizer.learning_rate=1e30', '--config.optimizer.clipping=none')
  with Run(tmp_path / 'run', digits, 2, 2, *bad, '--config.max_bad_steps=3') as run:
    told = errors(run)
  assert codes(run) == [1, 1]
  assert all('were not finite in 3 steps in a row, up to step' in line for line in told)
