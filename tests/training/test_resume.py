"""A run that is stopped anywhere and started again ends bit for bit like one that never stopped.

By the real command in its own processes; `test_killed.py` does it at random moments.
"""

import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from train_processes import (
  STEPS,
  assert_same_run,
  final_state,
  finish,
  kill,
  metrics,
  start,
  wait_for_step,
)


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
  workdir = tmp_path_factory.mktemp('unbroken') / 'run'
  assert finish(start(workdir, digits, {})).splitlines()[-1].startswith('done: accuracy ')
  return workdir


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path, digits: Path, unbroken: Path):
  """Killed twice: between two checkpoints, and again after it was taken up."""
  workdir = tmp_path / 'run'
  for step in (7, 18):
    process = start(workdir, digits, {})
    wait_for_step(process, workdir, step)
    kill(process)
    assert metrics(workdir)[-1]['step'] < STEPS
  assert 'goes on at step' in finish(start(workdir, digits, {}))
  assert_same_run(workdir, unbroken)


@pytest.mark.slow
def test_asked_to_stop(tmp_path: Path, digits: Path, unbroken: Path):
  workdir = tmp_path / 'run'
  process = start(workdir, digits, {})
  wait_for_step(process, workdir, 6)
  process.send_signal(signal.SIGTERM)
  last = finish(process).splitlines()[-1]
  stopped = metrics(workdir)[-1]['step']
  assert stopped < STEPS
  assert last.startswith(f'stopped after step {stopped} of {STEPS}, saved in ')
  assert f'goes on at step {stopped} of {STEPS}' in finish(start(workdir, digits, {}))
  assert_same_run(workdir, unbroken)


def test_finished_runs_stay_as_they_are(digits: Path, unbroken: Path):
  before, expected = metrics(unbroken), final_state(unbroken)
  assert finish(start(unbroken, digits, {})).splitlines()[-1].startswith('done: accuracy ')
  assert metrics(unbroken) == before
  jax.tree.map(np.testing.assert_array_equal, final_state(unbroken), expected)
