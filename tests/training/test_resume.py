"""A run that is stopped anywhere and started again ends bit for bit like one that never stopped.

The runs are those of the quickstart recipe, shortened, by the real command in its own processes.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from nfnets.data.preparation import prepare
from nfnets.training.checkpointing import Checkpoints
from nfnets.training.derived import derive
from nfnets.training.optimizer import make_optimizer
from nfnets.training.parallel import make_mapping
from nfnets.training.state import TrainState, abstract_state
from nfnets.training.workdir import checkpoint_folder, read_config

ROOT = Path(__file__).parents[2]
STEPS = 24
OPTIONS = {
  'epochs': STEPS * 32 / 1437,
  'batch_size': 32,
  'optimizer.warmup_epochs': 0.1,
  'log_every': 1,
  'eval_every': 10,
  'checkpoint_every': 4,
}
TIMEOUT = 300


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp('data')
  prepare('digits', folder)
  return folder


def start(workdir: Path, data_dir: Path) -> subprocess.Popen[str]:
  options = [f'--config.{name}={value}' for name, value in OPTIONS.items()]
  return subprocess.Popen(
    [
      sys.executable,
      'scripts/train.py',
      '--config=configs/quickstart.py',
      f'--workdir={workdir}',
      f'--config.data.data_dir={data_dir}',
      *options,
    ],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process: subprocess.Popen[str]) -> str:
  out, err = process.communicate(timeout=TIMEOUT)
  assert process.returncode == 0, err
  return out


def lines(workdir: Path) -> list[dict[str, float | str]]:
  path = workdir / 'metrics.jsonl'
  text = path.read_text() if path.exists() else ''
  return [json.loads(line) for line in text.split('\n')[:-1]]


def wait_for_step(process: subprocess.Popen[str], workdir: Path, step: int) -> None:
  end = time.monotonic() + TIMEOUT
  while not any(line['step'] >= step for line in lines(workdir)):
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < end
    time.sleep(0.01)


def final_state(workdir: Path) -> TrainState:
  config = read_config(workdir)
  derived = derive(config, 1437)
  optimizer, _ = make_optimizer(config, derived)
  mapping = make_mapping('pmap', jax.devices()[:1])
  with Checkpoints(checkpoint_folder(workdir)) as checkpoints:
    like = abstract_state(derived.model, optimizer, mapping.global_sharding)
    return jax.device_get(checkpoints.restore_newest(like))


def scalars(workdir: Path) -> list[tuple]:
  """What each line of the metrics says, but for time and memory."""
  measured = {'images_per_second', 'step_seconds', 'input_wait', 'device_bytes', 'host_bytes'}
  return [
    tuple((k, v) for k, v in line.items() if k not in measured)
    for line in lines(workdir)
    if line['kind'] != 'time'
  ]


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, data_dir) -> Path:
  workdir = tmp_path_factory.mktemp('unbroken') / 'run'
  assert finish(start(workdir, data_dir)).splitlines()[-1].startswith('done: accuracy ')
  return workdir


def assert_same_run(workdir: Path, unbroken: Path) -> None:
  state, expected = final_state(workdir), final_state(unbroken)
  assert int(state.step) == int(expected.step) == STEPS
  jax.tree.map(np.testing.assert_array_equal, state, expected)
  assert scalars(workdir) == scalars(unbroken)


def test_killed_at_any_moment(tmp_path, data_dir, unbroken) -> None:
  """Killed twice: between two checkpoints, and again after it was taken up."""
  workdir = tmp_path / 'run'
  for step in (7, 18):
    process = start(workdir, data_dir)
    wait_for_step(process, workdir, step)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert lines(workdir)[-1]['step'] < STEPS
  assert 'goes on at step' in finish(start(workdir, data_dir))
  assert_same_run(workdir, unbroken)


@pytest.mark.slow
def test_asked_to_stop(tmp_path, data_dir, unbroken) -> None:
  workdir = tmp_path / 'run'
  process = start(workdir, data_dir)
  wait_for_step(process, workdir, 6)
  process.send_signal(signal.SIGTERM)
  last = finish(process).splitlines()[-1]
  stopped = lines(workdir)[-1]['step']
  assert stopped < STEPS
  assert last.startswith(f'stopped after step {stopped} of {STEPS}, saved in ')
  assert f'goes on at step {stopped} of {STEPS}' in finish(start(workdir, data_dir))
  assert_same_run(workdir, unbroken)


def test_finished_runs_stay_as_they_are(data_dir, unbroken) -> None:
  before, expected = lines(unbroken), final_state(unbroken)
  assert finish(start(unbroken, data_dir)).splitlines()[-1].startswith('done: accuracy ')
  assert lines(unbroken) == before
  jax.tree.map(np.testing.assert_array_equal, final_state(unbroken), expected)
