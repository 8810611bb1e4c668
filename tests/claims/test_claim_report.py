"""The page of all claims."""

import dataclasses

from claims.made_up import CLAIM, Cell, with_cells

from nfnets.claims.claim import Scale
from nfnets.claims.report import report
from nfnets.claims.results import results_file
from nfnets.claims.running import try_claim


def made(name, claim=CLAIM, **changes):
  return dataclasses.replace(claim, name=name, title=f'About {name}', **changes)


ON_GPU_ALONE = made('larger', settings={Scale.GPU: CLAIM.settings[Scale.GPU]})


def attempt(claim, folder, scale=Scale.CPU):
  return try_claim(claim, scale, folder=folder, data_dir=folder, say=lambda line: None)


def page(tmp_path, *claims):
  return report(claims, folder=tmp_path / 'claims', output=tmp_path / 'docs' / 'claims.md')


def test_every_claim_has_its_row_and_section(tmp_path):
  folder = tmp_path / 'claims'
  wrong = made('wrong', with_cells(two=Cell(2.5)))
  attempt(CLAIM, folder)
  attempt(wrong, folder)
  text = page(tmp_path, CLAIM, wrong, made('untried'), ON_GPU_ALONE)
  rows = [line for line in text.splitlines() if line.startswith('| [')]
  assert [row.split(' | ')[3] for row in rows] == [
    'passed',
    'failed',
    'not run',
    'needs a GPU, not run',
  ]
  assert '- 3 at `--scale=cpu`: 1 passed; 1 failed; 1 not run. All cells' in text
  assert '- 1 at `--scale=gpu`: 1 needs a GPU, not run.' in text
  assert '## About wrong: failed' in text
  assert '| the square of 2 is 4 | 6.25 | **no** |' in text
  assert r'no square is \| negative' in text
  assert '![About wrong](../claims/wrong.png)' in text
  assert 'scripts/reproduce.py run wrong\n' in text
  assert 'scripts/reproduce.py run larger --scale=gpu\n' in text
  assert text.count('The square of 2 is 4.') == 4  # the rule
  assert '2 cells in ' in text
  assert 'on cpu; nfnets ' in text


def test_the_larger_scale_is_told_once_it_was_run(tmp_path):
  before = page(tmp_path, CLAIM)
  assert 'Larger, on a GPU' in before
  assert '--scale=gpu`:' not in before
  attempt(CLAIM, tmp_path / 'claims', Scale.GPU)
  after = page(tmp_path, CLAIM)
  assert '- 1 at `--scale=gpu`: 1 passed' in after
  assert '(../claims/squares.gpu.png)' in after


def test_what_is_half_measured_is_not_judged(tmp_path):
  folder = tmp_path / 'claims'
  attempt(with_cells(two=Cell(2.0)), folder)
  assert results_file(folder, CLAIM, Scale.CPU).exists()
  text = page(tmp_path, CLAIM)
  assert '## Squares grow: 1 of 2 cells' in text
  assert 'what must hold' not in text


def test_nothing_of_the_machine_is_told(tmp_path):
  attempt(CLAIM, tmp_path / 'claims')
  assert str(tmp_path) not in page(tmp_path, CLAIM)
