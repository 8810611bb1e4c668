import contextlib
import errno
import json
import math
import types
from pathlib import Path

import pytest
from event_files import scalars
from full_disk import files_up_to
from PIL import Image

from nfnets.errors import InputError
from nfnets.training import report as module
from nfnets.training.report import CURVES, METRICS, Report, read_metrics
from nfnets.training.scores import Scores

TRAIN = {'loss': 2.5, 'accuracy': 0.25, 'images_per_second': 123.4, 'bad_steps': 0}
RAW = Scores(accuracy=0.5, top5=0.75, loss=1.5, calibration_error=0.1, examples=360, unreadable=1)
EMA = Scores(
  accuracy=0.625, top5=0.875, loss=1.25, calibration_error=0.2, examples=360, unreadable=1
)


def events(workdir: Path) -> list[tuple[str, int, float]]:
  return list(scalars(workdir / 'tensorboard'))


def steps(workdir: Path) -> list[float | str]:
  return [line['step'] for line in read_metrics(workdir / METRICS)]


def write_lines(workdir: Path, numbers: list[int], end: str = '') -> None:
  lines = [json.dumps({'step': number, 'kind': 'train', 'loss': 1.0}) for number in numbers]
  (workdir / METRICS).write_text(''.join(line + '\n' for line in lines) + end)


def test_what_is_written_can_be_read_back(tmp_path: Path):
  with Report(tmp_path, start_step=0, total_steps=10) as report:
    report.write(5, 'train', TRAIN)
    report.tell_eval(10, RAW, EMA)
    assert len(read_metrics(tmp_path / METRICS)) == 2  # at once, not at the end
  first, second = read_metrics(tmp_path / METRICS)
  assert first == {'step': 5, 'kind': 'train'} | TRAIN
  assert second == {
    'step': 10, 'kind': 'eval',
    'accuracy': 0.5, 'top5': 0.75, 'loss': 1.5, 'calibration_error': 0.1, 'examples': 360,
    'unreadable': 1,
    'ema_accuracy': 0.625, 'ema_top5': 0.875, 'ema_loss': 1.25,
    'ema_calibration_error': 0.2, 'ema_examples': 360,
    'ema_unreadable': 1,
  }  # fmt: skip


def test_tensorboard_is_given_the_same_numbers(tmp_path: Path):
  with Report(tmp_path, start_step=0, total_steps=10) as report:
    report.write(5, 'train', TRAIN)
    report.tell_eval(10, RAW, EMA)
  scalars = {(tag, step): value for tag, step, value in events(tmp_path)}
  assert scalars['train/loss', 5] == 2.5
  assert scalars['eval/accuracy', 10] == 0.5
  assert scalars['eval/ema_accuracy', 10] == 0.625
  assert len(scalars) == 4 + 12


def test_what_is_not_a_number_is_null(tmp_path: Path):
  with Report(tmp_path, start_step=0, total_steps=10) as report:
    report.write(5, 'train', {'loss': math.nan, 'gradient_norm': math.inf, 'accuracy': 0.5})
  assert 'NaN' not in (tmp_path / METRICS).read_text()  # which is no JSON
  assert read_metrics(tmp_path / METRICS) == [
    {'step': 5, 'kind': 'train', 'loss': None, 'gradient_norm': None, 'accuracy': 0.5}
  ]
  assert events(tmp_path) == [('train/accuracy', 5, 0.5)]


def test_the_lines_behind_the_step_taken_up_are_dropped(tmp_path: Path):
  write_lines(tmp_path, [10, 20, 20, 30, 40])
  with Report(tmp_path, start_step=20, total_steps=50) as report:
    assert steps(tmp_path) == [10, 20, 20]
    report.write(30, 'train', TRAIN)
  assert steps(tmp_path) == [10, 20, 20, 30]


@pytest.mark.parametrize('end', ['{"step": 30, "ki', '{"step": 30, "kind": "train"}', '{', ''])
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path, end: str):
  write_lines(tmp_path, [10, 20], end)
  assert steps(tmp_path) == [10, 20]
  with Report(tmp_path, start_step=20, total_steps=50) as report:
    report.write(30, 'train', TRAIN)
  assert steps(tmp_path) == [10, 20, 30]


@pytest.mark.parametrize(
  'line', ['{"step": 1', '[]', '{"step": "1", "kind": "a"}', '{"step": 1}', '']
)
def test_a_line_that_is_no_metrics_is_named(tmp_path: Path, line: str):
  write_lines(tmp_path, [10, 20], f'{line}\n')
  message = f'^{tmp_path / METRICS}, line 3: .* is no metrics; mend the file or move it away$'
  with pytest.raises(InputError, match=message):
    Report(tmp_path, start_step=20, total_steps=50)
  assert (tmp_path / METRICS).read_text().endswith(f'{line}\n')


def test_there_are_no_metrics_before_the_first(tmp_path: Path):
  assert read_metrics(tmp_path / METRICS) == []
  with Report(tmp_path, start_step=0, total_steps=10):
    assert read_metrics(tmp_path / METRICS) == []
  assert not (tmp_path / CURVES).exists()


def test_the_curves_are_drawn_even_when_the_run_fails(tmp_path: Path):
  with contextlib.suppress(KeyError), Report(tmp_path, start_step=0, total_steps=9) as report:
    report.write(5, 'train', TRAIN)
    raise KeyError
  with Image.open(tmp_path / CURVES) as picture:
    assert picture.format == 'PNG'


def test_the_progress_line(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
  now = 50.0
  monkeypatch.setattr(module, 'time', types.SimpleNamespace(monotonic=lambda: now))
  with Report(tmp_path, start_step=100, total_steps=400) as report:
    now += 33  # compilation, which the time left must not count
    report.tell_first_step(32.6)
    now += 20
    report.tell_train(111, TRAIN)
    report.tell_train(111, TRAIN | {'bad_steps': 2})
    report.tell_eval(111, RAW, EMA)
  assert capsys.readouterr().out.splitlines() == [
    'the first step took 33 s, most of it compilation',
    'step 111/400   27.8%  loss 2.5000  accuracy 0.250  123 images/s  ETA 0:09:38',
    'step 111/400   27.8%  loss 2.5000  accuracy 0.250  123 images/s  ETA 0:09:38  '
    '2 steps changed nothing: not finite',
    'evaluation at step 111: accuracy 50.00%, averaged parameters 62.50% of 360 images',
  ]


def test_at_the_first_step_nothing_is_known_of_the_time_left(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
  with Report(tmp_path, start_step=0, total_steps=1) as report:
    report.tell_first_step(0.1)
    report.tell_train(1, TRAIN)
    report.tell_train(1, TRAIN | {'images_per_second': 0.12})
    report.tell_train(1, {name: TRAIN[name] for name in ('loss', 'accuracy', 'bad_steps')})
  *_, line, slow, first = capsys.readouterr().out.splitlines()
  assert line == 'step 1/1  100.0%  loss 2.5000  accuracy 0.250  123 images/s  ETA 0:00:00'
  assert '  0.12 images/s  ' in slow
  assert first == 'step 1/1  100.0%  loss 2.5000  accuracy 0.250'


def test_a_look_is_told_and_not_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
  with Report(tmp_path, start_step=0, total_steps=1) as report:
    report.tell_look(RAW, EMA)
  assert capsys.readouterr().out == (
    'before the first step: loss 1.5000, accuracy 50.00%, averaged parameters 1.2500, 62.50% of '
    '360 evaluation images\n'
  )
  assert read_metrics(tmp_path / METRICS) == []


def test_where_the_time_went(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
  seconds = {'first_step': 5.0, 'steps': 12.5, 'input': 2.5}
  with Report(tmp_path, start_step=0, total_steps=9) as report:
    report.tell_time(9, seconds)
  assert capsys.readouterr().out == (
    'time: 20.0 s = first step (compilation) 5.0 s (25%) + steps 12.5 s (62%) '
    '+ waiting for input 2.5 s (12%)\n'
  )
  assert read_metrics(tmp_path / METRICS) == [{'step': 9, 'kind': 'time', 'total': 20.0} | seconds]
  assert ('time/steps', 9, 12.5) in events(tmp_path)


def test_the_picture_is_drawn_once_where_nothing_follows_but_the_time(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  drawn: list[int] = []
  monkeypatch.setattr(module, 'draw_curves', lambda lines, _: drawn.append(len(lines)))
  with Report(tmp_path, start_step=0, total_steps=9) as report:
    report.write(5, 'train', TRAIN)
    report.draw()
    report.tell_time(5, {'steps': 1.0})
  assert drawn == [1]
  with Report(tmp_path, start_step=5, total_steps=9) as report:
    report.draw()
    report.write(6, 'train', TRAIN)
  assert drawn == [1, 2, 3]


def test_a_full_disk_is_told_and_leaves_whole_lines(tmp_path: Path):
  def write_many() -> None:
    with Report(tmp_path, start_step=0, total_steps=1000) as report:
      for step in range(1, 1000):
        report.write(step, 'train', TRAIN)

  with files_up_to(1000), pytest.raises(OSError, match='File too large'):
    write_many()
  told = steps(tmp_path)
  assert told == list(range(1, len(told) + 1))
  assert 5 < len(told) < 15
  with Report(tmp_path, start_step=len(told), total_steps=1000) as report:
    report.write(len(told) + 1, 'train', TRAIN)
  assert steps(tmp_path) == [*told, len(told) + 1]


def test_a_full_disk_does_not_hide_what_failed_first(tmp_path: Path):
  def fail() -> None:
    with Report(tmp_path, start_step=0, total_steps=9) as report:
      report.write(1, 'train', TRAIN)
      raise KeyError  # the curves, which are larger than there is room for, are drawn all the same

  with files_up_to(1000), pytest.raises(KeyError):
    fail()
  assert steps(tmp_path) == [1]


def test_where_the_output_goes_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
  def print_(text: str, *, flush: bool) -> None:
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr('builtins.print', print_)
  with (
    Report(tmp_path, start_step=0, total_steps=9) as report,
    pytest.raises(OSError, match=r"No space left on device: 'standard output'$"),
  ):
    report.say('hello')
