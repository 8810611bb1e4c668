"""Trying a claim: what is measured, what is kept when it is interrupted, what is told."""

import dataclasses

import pytest
from claims.made_up import CLAIM, Cell, measure, with_cells
from PIL import Image

from nfnets.claims.claim import Scale
from nfnets.claims.outcome import Verdict, read_outcome
from nfnets.claims.results import picture_file, read_results, results_file
from nfnets.claims.running import try_claim
from nfnets.errors import InputError


class Counting:
  """`measure`, which remembers its cells and may be interrupted."""

  def __init__(self, stop_at=None):
    self.cells, self.stop_at = [], stop_at

  def __call__(self, cell, source):
    if cell.number == self.stop_at:
      raise KeyboardInterrupt
    self.cells.append(cell.number)
    return measure(cell, source)


def attempt(folder, claim=CLAIM, measure=None, scale=Scale.CPU, **options):
  lines = []
  counting = measure or Counting()
  claim = dataclasses.replace(claim, measure=counting)
  outcome = try_claim(
    claim, scale, folder=folder, data_dir=folder / 'data', say=lines.append, **options
  )
  return outcome, counting.cells, lines


def test_cells_in_order_verdict_and_picture(tmp_path):
  folder = tmp_path / 'new' / 'results'
  outcome, cells, lines = attempt(folder)
  assert cells == [2.0, 3.0]
  assert outcome.verdict == Verdict.PASSED
  assert [check.holds for check in outcome.checks] == [True, True]
  assert lines[0] == 'squares: cell 1 of 2, two'
  assert lines[1].startswith('squares: cell 2 of 2, three, about 0:00 left')
  assert lines[2].startswith('squares: passed')
  with Image.open(picture_file(folder, CLAIM, Scale.CPU)) as image:
    assert (image.format, image.size) == ('PNG', (900, 400))
  assert read_outcome(folder, CLAIM, Scale.CPU) == outcome._replace(claim=CLAIM)


def test_an_interrupted_run_goes_on(tmp_path):
  with pytest.raises(KeyboardInterrupt):
    attempt(tmp_path, measure=Counting(stop_at=3.0))
  assert list(read_results(results_file(tmp_path, CLAIM, Scale.CPU), CLAIM, Scale.CPU)) == ['two']
  assert read_outcome(tmp_path, CLAIM, Scale.CPU).verdict == Verdict.INCOMPLETE
  _, cells, lines = attempt(tmp_path)
  assert cells == [3.0]
  assert lines[0].startswith('squares: cell 2 of 2')
  _, cells, _ = attempt(tmp_path)
  assert cells == []
  _, cells, _ = attempt(tmp_path, force=True)
  assert cells == [2.0, 3.0]


def test_a_changed_cell_is_measured_anew_and_judged(tmp_path):
  attempt(tmp_path)
  changed = with_cells(two=Cell(2.5), three=Cell(3.0))
  outcome, cells, lines = attempt(tmp_path, changed)
  assert cells == [2.5]
  assert outcome.verdict == Verdict.FAILED
  assert lines[-1].startswith('squares: failed')


def test_scales_do_not_touch_each_other(tmp_path):
  attempt(tmp_path)
  _, cells, _ = attempt(tmp_path, scale=Scale.GPU)
  assert cells == [2.0]
  assert len(read_outcome(tmp_path, CLAIM, Scale.CPU).found) == 2
  with pytest.raises(InputError, match=r'^--scale=gpu: squares is tried with --scale=cpu alone$'):
    attempt(tmp_path, with_cells(two=Cell(2.0)), scale=Scale.GPU)


def test_a_dataset_that_is_missing_is_told_before_anything_is_measured(tmp_path):
  setting = dataclasses.replace(CLAIM.settings[Scale.CPU], dataset='fashion_mnist')
  claim = dataclasses.replace(CLAIM, settings={Scale.CPU: setting})
  counting = Counting()
  with pytest.raises(InputError, match=r'scripts/prepare.py fashion_mnist --data_dir='):
    attempt(tmp_path, claim, counting)
  assert counting.cells == []
  attempt(tmp_path)
  _, cells, _ = attempt(tmp_path, claim)  # nothing to measure, nothing to read
  assert cells == []


def test_a_folder_that_is_a_file(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match=r'^--results=.*file is no folder'):
    attempt(tmp_path / 'file')


def test_results_of_another_version_are_told(tmp_path):
  older = dataclasses.replace(CLAIM, judge=lambda results: ())
  try_claim(
    dataclasses.replace(older, measure=lambda cell, source: {'cube': 8.0}, draw=lambda *_: None),
    Scale.CPU,
    folder=tmp_path,
    data_dir=tmp_path,
    say=lambda line: None,
  )
  with pytest.raises(InputError, match=r"squares\.json lacks 'square'.*--force"):
    read_outcome(tmp_path, CLAIM, Scale.CPU)


def test_progress_is_told_on_standard_error(tmp_path, capsys):
  try_claim(CLAIM, Scale.CPU, folder=tmp_path, data_dir=tmp_path)
  out, err = capsys.readouterr()
  assert out == ''
  assert 'squares: cell 1 of 2, two\n  two:  50 %, 1 of 2 steps' in err
