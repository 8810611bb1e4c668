import json
from pathlib import Path

import jax
import numpy as np
import pytest
from data.folders import png, write_folder
from scripts.processes import assert_told, run_script

from configs.quickstart import get_config
from nfnets.training.checkpointing import Checkpoints
from nfnets.training.derived import derive
from nfnets.training.optimizer import make_optimizer
from nfnets.training.state import create_state
from nfnets.training.workdir import checkpoint_folder, claim


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A run that has just begun, on eight test images of which one is torn."""
  folder = tmp_path_factory.mktemp('begun')
  noise = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
  images = [(png(image), label) for label, image in enumerate(noise)]
  images[5] = (images[5][0][:40], 5)
  write_folder(folder / 'data', {'train': images, 'test': images}, below='digits')
  config = get_config()
  config.data.data_dir = str(folder / 'data')
  derived = derive(config, 8)
  claim(folder / 'run', config, {})
  state = create_state(derived.model, make_optimizer(config, derived)[0], jax.random.key(0))
  with Checkpoints(checkpoint_folder(folder / 'run')) as checkpoints:
    checkpoints.save(3, state._replace(step=state.step + 3))
  return folder / 'run'


def test_a_checkpoint_is_scored(run: Path, tmp_path: Path):
  before = {file: file.stat().st_mtime_ns for file in run.rglob('*')}
  done = run_script('evaluate', f'--workdir={run}', '--raw', f'--json={tmp_path / "scores.json"}')
  assert done.returncode == 0, done.stderr
  result = json.loads((tmp_path / 'scores.json').read_text())
  scores = result.pop('scores')
  assert result == {
    'workdir': str(run), 'model': 'nfnet_tiny', 'step': 3, 'parameters': 'raw',
    'dataset': 'digits', 'split': 'test',
  }  # fmt: skip
  assert (scores['examples'], scores['unreadable']) == (7, 1)
  assert scores['loss'] == pytest.approx(np.log(10), abs=0.5)
  assert done.stdout.splitlines()[-1] == (
    f'nfnet_tiny of {run}, step 3, raw parameters, on 7 images of digits test: '
    f'accuracy {scores["accuracy"]:.2%}, top-5 {scores["top5"]:.2%}, loss {scores["loss"]:.4f}, '
    f'unreadable 1; written to {tmp_path / "scores.json"}'
  )
  assert {file: file.stat().st_mtime_ns for file in run.rglob('*')} == before


def test_a_folder_without_a_run(tmp_path: Path):
  done = run_script('evaluate', f'--workdir={tmp_path}')
  assert_told(done, 2, f"workdir='{tmp_path}' holds no run", 'scripts/train.py')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('place', ['no/such/folder/scores.json', ''])
def test_a_result_that_could_not_be_written_is_told_before_the_work(
  run: Path, tmp_path: Path, place: str
):
  done = run_script('evaluate', f'--workdir={run}', f'--json={tmp_path / place}')
  assert_told(done, 2, f'--json={tmp_path / place}')
  assert done.stdout == ''
  assert not list(tmp_path.iterdir())


def test_a_batch_of_nothing(run: Path):
  assert_told(run_script('evaluate', f'--workdir={run}', '--batch_size=0'), 2, '--batch_size=0')


def test_help_shows_an_example():
  done = run_script('evaluate', '--help')
  assert done.returncode == 0
  assert 'scripts/evaluate.py --workdir=runs/quickstart' in done.stdout
