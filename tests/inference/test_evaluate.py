import dataclasses
from pathlib import Path
from typing import Any

import pytest
from runs import Finished

from nfnets.errors import InputError
from nfnets.inference.evaluate import evaluate_run
from nfnets.training.checkpointing import Checkpoints
from nfnets.training.config import Config
from nfnets.training.evaluation import Evaluator
from nfnets.training.report import read_metrics
from nfnets.training.scores import Scores
from nfnets.training.workdir import checkpoint_folder, claim


def files(folder: Path) -> dict[Path, int]:
  return {file: file.stat().st_mtime_ns for file in folder.rglob('*')}


@pytest.mark.parametrize(
  ('averaged', 'parameters', 'prefix'), [(True, 'averaged', 'ema_'), (False, 'raw', '')]
)
def test_a_run_is_scored_as_it_was_while_it_ran(
  finished: Finished, averaged: bool, parameters: str, prefix: str
):
  before = files(finished.workdir)
  lines = read_metrics(finished.workdir / 'metrics.jsonl')
  last = [line for line in lines if line['kind'] == 'eval'][-1]
  names = [field.name for field in dataclasses.fields(Scores)]
  result = evaluate_run(finished.workdir, averaged=averaged)
  assert result.scores == Scores(**{name: last[prefix + name] for name in names})
  assert result.to_json() == {
    'model': 'nfnet_micro',
    'weights': f'{parameters} parameters after step 24 of a run on digits',
    'dataset': 'digits',
    'split': 'test[:50]',
    'preprocessing': result.preprocessing,
    'precision': 'float32',
    'scores': dataclasses.asdict(result.scores),
  }
  assert result.preprocessing['geometry'] == 'reference'
  assert (result.preprocessing['size'], result.preprocessing['margin']) == (16, 0)
  assert files(finished.workdir) == before


def test_another_split_and_another_batch(finished: Finished):
  whole = evaluate_run(finished.workdir, split='test[50:90]', batch_size=40)
  parts = evaluate_run(finished.workdir, split='test[50:90]', batch_size=13)
  assert whole.split == 'test[50:90]'
  assert whole.scores.examples == parts.scores.examples == 40
  assert whole.scores.accuracy == parts.scores.accuracy
  assert whole.scores.loss == pytest.approx(parts.scores.loss, rel=1e-5)


@pytest.mark.parametrize(('asked', 'expected'), [(None, 2), (3, 3)])
def test_threads_are_those_of_the_run_unless_asked_for(
  finished: Finished, monkeypatch: pytest.MonkeyPatch, asked: int | None, expected: int
):
  seen: list[int] = []

  class Watched(Evaluator):
    def __init__(self, *arguments: Any, **named: Any):
      seen.append(named['threads'])
      super().__init__(*arguments, **named)

  monkeypatch.setattr('nfnets.inference.evaluate.Evaluator', Watched)
  evaluate_run(finished.workdir, split='test[:16]', threads=asked)
  assert seen == [expected]


def test_data_that_is_not_there_is_named(finished: Finished):
  with pytest.raises(InputError, match="'/nowhere/at/all'"):
    evaluate_run(finished.workdir, data_dir='/nowhere/at/all')
  with pytest.raises(InputError, match="'validation'"):
    evaluate_run(finished.workdir, split='validation')


def test_a_folder_without_a_run(tmp_path: Path):
  with pytest.raises(InputError, match=f"^workdir='{tmp_path}' holds no run: "):
    evaluate_run(tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_run_that_has_saved_nothing(tmp_path: Path, config: Config):
  claim(tmp_path, config, {})
  before = files(tmp_path)
  with pytest.raises(InputError, match=f"^workdir='{tmp_path}' holds no checkpoint yet$"):
    evaluate_run(tmp_path)
  assert files(tmp_path) == before


def test_a_checkpoint_of_something_else(tmp_path: Path, config: Config):
  claim(tmp_path, config, {})
  with Checkpoints(checkpoint_folder(tmp_path)) as checkpoints:
    checkpoints.save(3, {'other': 1.0})
  with pytest.raises(
    InputError, match=r'none of the 1 checkpoints in .* can be restored'
  ) as caught:
    evaluate_run(tmp_path)
  assert '\n' not in str(caught.value)
