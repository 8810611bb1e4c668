"""Whole runs, in this process: what they leave, and how they end."""

import dataclasses
import gzip
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from data.folders import png, write_folder
from runs import Finished

from nfnets.data.pipeline import Batches, train_batches
from nfnets.errors import InputError, RunError
from nfnets.training import run
from nfnets.training.checkpointing import Checkpoints
from nfnets.training.clock import PARTS
from nfnets.training.config import Config
from nfnets.training.derived import derive
from nfnets.training.loop import train
from nfnets.training.optimizer import make_optimizer
from nfnets.training.parallel import make_mapping
from nfnets.training.report import read_metrics
from nfnets.training.run import is_due
from nfnets.training.state import TrainState, abstract_state, create_state
from nfnets.training.workdir import checkpoint_folder, read_config


def lines(workdir: Path, kind: str) -> list[dict]:
  return [line for line in read_metrics(workdir / 'metrics.jsonl') if line['kind'] == kind]


def files(folder: Path) -> dict[Path, int]:
  return {file: file.stat().st_mtime_ns for file in folder.rglob('*') if file.is_file()}


def restore(config: Config, workdir: Path) -> TrainState:
  derived = derive(config, 96)
  optimizer, _ = make_optimizer(config, derived)
  like = abstract_state(derived.model, optimizer, make_mapping('pmap').global_sharding)
  with Checkpoints(checkpoint_folder(workdir), read_only=True) as checkpoints:
    return checkpoints.restore_newest(like)


def test_a_run_leaves_everything_in_its_folder(finished: Finished):
  assert {one.name for one in finished.workdir.iterdir()} == {
    'config.json', 'data.json', 'metrics.jsonl', 'curves.png', 'checkpoints', 'tensorboard',
    '.lock',
  }  # fmt: skip
  assert read_config(finished.workdir) == finished.config
  assert {one.name for one in (finished.workdir / 'checkpoints').iterdir()} == {'20', '24'}


def test_the_steps_that_are_due_are_logged(finished: Finished):
  assert [line['step'] for line in lines(finished.workdir, 'train')] == [5, 10, 15, 20, 24]
  assert [line['step'] for line in lines(finished.workdir, 'eval')] == [8, 16, 24]


def test_what_a_training_line_holds(finished: Finished):
  config = finished.config
  _, schedule = make_optimizer(config, derive(config, 96))
  for line in lines(finished.workdir, 'train'):
    assert line.keys() == {
      'step', 'kind', 'loss', 'accuracy', 'learning_rate', 'gradient_norm', 'parameter_norm',
      'clipped', 'clipped_stem', 'clipped_stage_0', 'clipped_stage_1', 'clipped_neck',
      'clipped_head', 'bad_steps', 'images_per_second', 'step_seconds', 'input_wait', 'epoch',
      'bad_records', 'device_bytes', 'host_bytes',
    }  # fmt: skip
    assert line['learning_rate'] == pytest.approx(float(schedule(line['step'] - 1)), rel=1e-6)
    assert line['epoch'] == line['step'] / 3
    assert line['images_per_second'] > 0
    assert 0 <= line['input_wait'] < 1
    assert 0 < line['clipped'] <= 1
    assert line['host_bytes'] > 1e8
    assert (line['bad_steps'], line['bad_records']) == (0, 0)


def test_both_parameters_and_their_average_are_evaluated(finished: Finished):
  for line in lines(finished.workdir, 'eval'):
    assert line['examples'] == line['ema_examples'] == 50
    assert line['loss'] != line['ema_loss']


def test_the_outcome_is_the_last_evaluation(finished: Finished):
  last = lines(finished.workdir, 'eval')[-1]
  assert (finished.outcome.step, finished.outcome.total_steps) == (24, 24)
  scores = dataclasses.asdict(finished.outcome.scores)
  assert scores == {name: last[f'ema_{name}'] for name in scores}


def test_the_network_learns(finished: Finished):
  first, *_, last = lines(finished.workdir, 'train')
  assert first['loss'] == pytest.approx(np.log(10), abs=0.2)
  assert last['loss'] < 0.7 * first['loss']
  assert last['accuracy'] > 0.5
  assert finished.outcome.scores.accuracy > 0.3  # of held-out images; by chance 0.1


def test_a_person_is_told(finished: Finished):
  kind = re.escape(jax.devices()[0].device_kind)
  patterns = [
    rf'nfnet_micro on digits \(96 images of 16 pixels\) starts of 24 steps: batch 32, 4 {kind} '
    r'device\(s\), float32',
    r'before the first step: loss \d\.\d{4}, accuracy \d+\.\d\d%, averaged parameters '
    r'\d\.\d{4}, \d+\.\d\d% of 16 evaluation images',
    r'the first step took \d+ s, most of it compilation',
    r'step 5/24   20\.8%  loss \d.\d{4}  accuracy 0\.\d{3}  \d+ images/s  ETA 0:\d\d:\d\d',
    r'evaluation at step 8: accuracy \d+\.\d\d%, averaged parameters \d+\.\d\d% of 50 images',
  ]
  # How fast this machine reads is not known.
  printed = [line for line in finished.printed if not line.startswith('input is the limit')]
  for pattern, line in zip(patterns, printed, strict=False):
    assert re.fullmatch(pattern, line)
  assert len(printed) == 3 + 5 + 3 + 1


def test_the_time_adds_up(finished: Finished):
  (line,) = lines(finished.workdir, 'time')
  parts = {name: line[name] for name in PARTS}
  assert line == {'step': 24, 'kind': 'time', 'total': pytest.approx(sum(parts.values()))} | parts
  assert 0.9 * finished.seconds < line['total'] < finished.seconds
  for part in ('start', 'first_step', 'steps', 'evaluation', 'checkpoints', 'other'):
    assert line[part] > 0
  steps = [one['step_seconds'] for one in lines(finished.workdir, 'train')]
  # The first step is no part of the first line's speed, and all others are.
  timed = np.dot(steps, [4, 5, 5, 5, 4])
  assert line['steps'] + line['input'] == pytest.approx(timed, rel=0.1)
  assert finished.printed[-1].startswith(f'time: {line["total"]:.1f} s = start ')


def test_the_look_before_the_first_step_is_at_first_values(finished: Finished):
  """One batch of the evaluation split, and neither a line of the metrics nor a step of the run."""
  loss, averaged = re.findall(r'(?:loss|parameters) (\d\.\d{4})', finished.printed[1])
  assert loss == averaged  # the average begins with the parameters
  assert float(loss) == pytest.approx(np.log(10), abs=0.2)
  assert min(line['step'] for line in read_metrics(finished.workdir / 'metrics.jsonl')) == 5


class Slow:
  """Batches that take their time."""

  SECONDS = 0.4

  def __init__(self, batches: Batches):
    self.batches = batches

  def __next__(self) -> dict[str, np.ndarray]:
    time.sleep(self.SECONDS)
    return next(self.batches)

  def __enter__(self) -> 'Slow':
    return self

  def __exit__(self, *unused: object) -> None:
    self.batches.close()


@pytest.mark.slow
def test_a_trace_and_slow_input_are_told_and_change_nothing(
  tmp_path: Path,
  config: Config,
  finished: Finished,
  monkeypatch: pytest.MonkeyPatch,
  capsys: pytest.CaptureFixture[str],
):
  monkeypatch.setattr(run, 'train_batches', lambda *a, **k: Slow(train_batches(*a, **k)))
  outcome = train(config, tmp_path / 'run', profile_steps=2)
  assert outcome == finished.outcome
  state, expected = restore(config, tmp_path / 'run'), restore(config, finished.workdir)
  jax.tree.map(np.testing.assert_array_equal, state, expected)

  (trace,) = (tmp_path / 'run' / 'profile').rglob('*.trace.json.gz')
  events = json.loads(gzip.decompress(trace.read_bytes()))['traceEvents']
  assert {e['args']['step_num'] for e in events if e.get('name') == 'train'} == {'3', '4'}
  printed = capsys.readouterr().out
  assert f'traced steps 3 to 4: `tensorboard --logdir={tmp_path}' in printed

  (line,) = lines(tmp_path / 'run', 'time')
  assert line['input'] > 23 * Slow.SECONDS  # the first batch is part of the start
  assert printed.count('input is the limit: ') == 1
  assert all(one['input_wait'] > 0.2 for one in lines(tmp_path / 'run', 'train'))


def test_steps_to_trace_are_counted_from_0(tmp_path: Path, config: Config):
  with pytest.raises(InputError, match=r'^profile_steps=-1: '):
    train(config, tmp_path / 'run', profile_steps=-1)


def test_a_finished_run_is_only_evaluated_again(
  finished: Finished, capsys: pytest.CaptureFixture[str]
):
  kept = [finished.workdir / name for name in ('metrics.jsonl', 'config.json', 'data.json')]
  before = [file.read_bytes() for file in kept], files(finished.workdir / 'checkpoints')
  assert train(finished.config, finished.workdir) == finished.outcome
  after = [file.read_bytes() for file in kept], files(finished.workdir / 'checkpoints')
  assert after == before
  assert 'goes on at step 24 of 24 steps' in capsys.readouterr().out


def test_another_run_is_refused_and_leaves_the_folder_alone(finished: Finished, config: Config):
  before = files(finished.workdir)
  config.seed = 1
  with pytest.raises(InputError, match=r'belongs to another run \(seed: 0 -> 1\)'):
    train(config, finished.workdir)
  assert files(finished.workdir) == before


def set_momentum(config: Config) -> None:
  config.optimizer.momentum = 1.5


def set_norm(config: Config) -> None:
  config.optimizer.clip_norm = 'rows'  # pyright: ignore[reportAttributeAccessIssue]


def set_decay(config: Config) -> None:
  config.optimizer.ema_decay = 1.0


def set_seed(config: Config) -> None:
  config.seed = -1


def set_batch(config: Config) -> None:
  config.batch_size = 30


def set_folder(config: Config) -> None:
  config.data.data_dir = '/nowhere/at/all'


def set_split(config: Config) -> None:
  config.data.eval_split = 'testing'


def set_model(config: Config) -> None:
  config.model.name = 'nfnet_f9'


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (set_momentum, r'^optimizer\.momentum=1\.5: '),
    (set_norm, r"^optimizer\.clip_norm='rows' "),
    (set_decay, r'^optimizer\.ema_decay=1\.0: '),
    (set_seed, '^seed=-1: '),
    (set_batch, '^batch_size=30 is not a multiple of the 4 devices$'),
    (set_folder, "'/nowhere/at/all'"),
    (set_split, "'testing'"),
    (set_model, "^model='nfnet_f9' "),
  ],
)
def test_what_is_wrong_is_told_before_a_folder_is_made(
  tmp_path: Path, config: Config, change: Callable[[Config], None], message: str
):
  change(config)
  with pytest.raises(InputError, match=message):
    train(config, tmp_path / 'run')
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_too_many_unreadable_records_stop_the_run(tmp_path: Path, config: Config):
  noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
  whole = [(png(image), label % 10) for label, image in enumerate(noise)]
  torn = [(image[:50], label) for image, label in whole]
  write_folder(tmp_path / 'data', {'train': whole[::2] + torn[1::2], 'test': whole}, below='digits')
  config.data = dataclasses.replace(
    config.data, data_dir=str(tmp_path / 'data'), train_split=None, eval_split=None,
    max_bad_records=3,
  )  # fmt: skip
  # As many steps, and as many of them warm-up, as the finished run: its program need not be
  # compiled anew.
  config.epochs, config.optimizer.warmup_epochs = 24 * 32 / 20, 3 * 32 / 20
  with pytest.raises(RunError) as caught:
    train(config, tmp_path / 'run')
  assert re.fullmatch(
    r'\d+ records could not be read in epoch 0, up to step 1, more than data\.max_bad_records=3; '
    'nothing was saved yet: the log names their files',
    str(caught.value),
  )


def test_a_run_that_diverges_stops_and_leaves_what_was_good(tmp_path: Path, config: Config):
  config.optimizer = dataclasses.replace(config.optimizer, learning_rate=1e30, clipping=None)
  config.max_bad_steps = 3
  config.checkpoint_every = 1
  with pytest.raises(RunError) as caught:
    train(config, tmp_path / 'run')
  told = re.fullmatch(
    r'loss, gradients or parameters were not finite in 3 steps in a row, up to step 4; the last '
    r'checkpoint is that of step (\d): try a lower optimizer\.learning_rate or optimizer\.clipping',
    str(caught.value),
  )
  assert told
  # The first step has the rate 0 of the warm-up; the second would be the end of the parameters.
  state = restore(config, tmp_path / 'run')
  assert int(state.step) >= int(told[1])
  assert int(state.bad_steps) == int(state.step) - 1
  derived = derive(config, 96)
  first = create_state(derived.model, make_optimizer(config, derived)[0], jax.random.key(0))
  jax.tree.map(np.testing.assert_array_equal, state.params, first.params)


@pytest.mark.parametrize(
  ('every', 'last', 'due'),
  [(1, 5, [1, 2, 3, 4, 5]), (2, 5, [2, 4, 5]), (5, 5, [5]), (9, 5, [5]), (2, 4, [2, 4])],
)
def test_what_is_due(every: int, last: int, due: list[int]):
  assert [step for step in range(1, last + 1) if is_due(step, every, step == last)] == due
