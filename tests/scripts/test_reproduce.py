"""The command that tries what the papers claim."""

import pytest
from scripts.processes import ask_script, assert_told

from nfnets.claims.table import CLAIMS


def test_the_list_has_every_claim():
  done = ask_script('reproduce', 'list')
  assert done.returncode == 0, done.stderr
  assert [line.split(':')[0] for line in done.stdout.splitlines()] == [
    claim.name for claim in CLAIMS
  ]
  assert 'path_lengths: ' in done.stdout
  assert '(SkipInit, Figure 3; seconds on a CPU)' in done.stdout


def test_a_claim_from_the_first_cell_to_the_page(tmp_path):
  flags = (f'--results={tmp_path}/found', f'--output={tmp_path}/claims.md')
  done = ask_script('reproduce', 'run', 'path_lengths', *flags)
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('path_lengths: passed (')
  assert '  holds: the share of at most 15' in done.stdout
  assert 'path_lengths: cell 1 of 5, exact_10\n' in done.stderr
  again = ask_script('reproduce', 'run', 'path_lengths', *flags)
  assert again.stdout == done.stdout
  assert 'cell' not in again.stderr.split('for all cells')[0]
  page = ask_script('reproduce', 'report', *flags)
  assert (page.returncode, page.stdout) == (0, f'wrote {tmp_path}/claims.md\n')
  assert '(found/path_lengths.png)' in (tmp_path / 'claims.md').read_text()
  assert (tmp_path / 'found' / 'path_lengths.png').is_file()


@pytest.mark.parametrize(
  ('arguments', 'parts'),
  [
    ([], ['name what to do, list, run, all, report']),
    (['tell'], ["'tell': name what to do"]),
    (['run'], ['name at least one claim']),
    (['report', 'path_lengths'], ['report takes no names, not path_lengths']),
    (['run', 'path_length'], ["claim='path_length' is not known", 'path_lengths']),
    (['run', 'path_lengths', '--scale=gpu'], ['path_lengths is tried with --scale=cpu alone']),
    (['report', '--output=no/such/page.md'], ['--output=no/such/page.md: no/such is not a folder']),
    (['run', 'path_lengths', '--results='], ["--results='' names no folder"]),
  ],
)
def test_a_mistake_is_told_in_one_line(arguments, parts):
  done = ask_script('reproduce', *arguments)
  assert_told(done, 2, *parts)
  assert done.stdout == ''
