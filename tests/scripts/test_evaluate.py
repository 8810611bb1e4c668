import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from data.folders import png, write_folder
from scripts.processes import ask_script, assert_told, run_script

from configs.quickstart import get_config
from nfnets.inference.evaluate import evaluate_run
from nfnets.inference.network import open_network
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
  weights = 'raw parameters after step 3 of a run on digits'
  assert result.pop('preprocessing')['size'] == 16
  assert result == {
    'model': 'nfnet_tiny', 'weights': weights, 'dataset': 'digits', 'split': 'test',
    'precision': 'float32',
  }  # fmt: skip
  assert (scores['examples'], scores['unreadable']) == (7, 1)
  assert scores['loss'] == pytest.approx(np.log(10), abs=0.5)
  assert done.stdout.splitlines()[-1] == (
    f'nfnet_tiny ({weights}) on 7 images of digits test: '
    f'accuracy {scores["accuracy"]:.2%}, top-5 {scores["top5"]:.2%}, loss {scores["loss"]:.4f}, '
    f'calibration error {scores["calibration_error"]:.4f}, '
    f'unreadable 1; written to {tmp_path / "scores.json"}'
  )
  assert {file: file.stat().st_mtime_ns for file in run.rglob('*')} == before


def test_weights_are_scored_class_by_class(run: Path, tmp_path: Path):
  """Weights as `convert.py` makes them of the run do as well as the run."""
  weights, table = tmp_path / 'tiny.safetensors', tmp_path / 'classes.csv'
  open_network(workdir=run, averaged=False).save(weights)
  done = ask_script(
    'evaluate', f'--weights={weights}', '--dataset=digits', f'--data_dir={run.parent / "data"}',
    f'--per_class={table}', '--batch_size=3',
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert 'evaluated: 100 %, 8 of 8 images' in done.stderr
  of_the_run = evaluate_run(run, averaged=False)
  assert f'accuracy {of_the_run.scores.accuracy:.2%}' in done.stdout
  rows = list(csv.DictReader(table.read_text().splitlines()))
  assert [row['class'] for row in rows] == ['0', '1', '2', '3', '4', '6', '7']  # 5 is torn
  assert [row['name'] for row in rows] == [row['class'] for row in rows]
  losses = [float(row['loss']) for row in rows]
  assert np.mean(losses) == pytest.approx(of_the_run.scores.loss, rel=1e-4)


@pytest.mark.parametrize(
  ('arguments', 'parts'),
  [
    (['--weights=x', '--workdir=y'], ['give one of --weights', '--workdir']),
    (['--workdir=y', '--size=9'], ['--size=9: runs know theirs']),
    (['--workdir=y', '--model=nfnet_f0'], ['--model=nfnet_f0: runs know theirs']),
    (['--workdir=y', '--dataset=digits'], ['--dataset=digits: runs know theirs']),
    (['--workdir=y', '--precision=float32'], ['--precision=float32: runs know theirs']),
    (['--weights=x', '--data_dir=.', '--raw'], ["(--raw): weights='x' is no run"]),
    (['--weights=no/such', '--data_dir=.'], ["weights='no/such' is no file", 'deepmind']),
  ],
)
def test_what_cannot_be_meant_is_told(arguments: list[str], parts: list[str]):
  assert_told(ask_script('evaluate', *arguments), 2, *parts)


def test_a_folder_without_a_run(tmp_path: Path):
  done = ask_script('evaluate', f'--workdir={tmp_path}')
  assert_told(done, 2, f"workdir='{tmp_path}' holds no run", 'scripts/train.py')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('place', ['no/such/folder/scores.json', ''])
def test_a_result_that_could_not_be_written_is_told_before_the_work(
  run: Path, tmp_path: Path, place: str
):
  done = ask_script('evaluate', f'--workdir={run}', f'--json={tmp_path / place}')
  assert_told(done, 2, f'--json={tmp_path / place}')
  assert done.stdout == ''
  assert not list(tmp_path.iterdir())


def test_a_batch_of_nothing(run: Path):
  assert_told(ask_script('evaluate', f'--workdir={run}', '--batch_size=0'), 2, '--batch_size=0')


def test_help_shows_an_example():
  done = run_script('evaluate', '--help')
  assert done.returncode == 0
  assert 'scripts/evaluate.py --workdir=runs/quickstart' in done.stdout
