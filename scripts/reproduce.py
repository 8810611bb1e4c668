#!/usr/bin/env python3
"""Tries what the papers claim: measures, judges by a rule that was fixed before, and draws.

Examples:
  scripts/reproduce.py list
  scripts/reproduce.py run path_lengths activation_gains
  scripts/reproduce.py run batch_independence --scale=gpu
  scripts/reproduce.py all --data_dir=data
  scripts/reproduce.py report --output=claims.md

run and all measure what is missing in --results, cell by cell: after Ctrl-C the same command goes
on.  --force measures again.  They exit with 1 if a claim failed.  report writes one Markdown page
of all claims, with the pictures.  Claims about training take images of a prepared dataset:
scripts/prepare.py fashion_mnist --data_dir=data.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from nfnets import command_line
from nfnets.allocator import keep_freed_memory
from nfnets.claims.claim import Claim, Scale
from nfnets.claims.outcome import Outcome, Verdict, find_setting
from nfnets.claims.report import report
from nfnets.claims.running import try_claim
from nfnets.claims.table import CLAIMS, find_claim
from nfnets.errors import InputError, RunError
from nfnets.output_files import check_writable, write_text
from nfnets.training.workdir import as_folder

SCALE = flags.DEFINE_enum('scale', 'cpu', list(Scale), 'How large the claims are tried.')
DATA_DIR = flags.DEFINE_string('data_dir', 'data', 'Where prepared datasets lie.')
RESULTS = flags.DEFINE_string('results', 'runs/claims', 'Keeps what was found, and the pictures.')
OUTPUT = flags.DEFINE_string('output', 'docs/results/claims.md', 'The page that report writes.')
FORCE = flags.DEFINE_bool('force', False, 'Measure again what is there.')

_ACTIONS = ('list', 'run', 'all', 'report')


def main(argv: list[str]) -> None:
  """Lists, tries or reports."""
  keep_freed_memory()
  action, *named = argv[1:] or ['']
  if action not in _ACTIONS:
    raise InputError(f'{action!r}: name what to do, {", ".join(_ACTIONS)}: reproduce.py list')
  if bool(named) != (action == 'run'):
    raise InputError(
      'run: name at least one claim: reproduce.py run path_lengths'
      if action == 'run'
      else f'{action} takes no names, not {" ".join(named)}; run does'
    )
  if action == 'list':
    print('\n'.join(map(line, CLAIMS)))
  elif action == 'report':
    write_report()
  else:
    try_claims(list(map(find_claim, named)) if named else all_claims())


def line(claim: Claim[Any]) -> str:
  """What a claim is, for people who choose one."""
  costs = '; '.join(setting.cost for setting in claim.settings.values())
  return f'{claim.name}: {claim.title} ({claim.paper.short}, {claim.where}; {costs})'


def all_claims() -> list[Claim[Any]]:
  """Those that can be tried at this scale."""
  return [claim for claim in CLAIMS if SCALE.value in claim.settings]


def try_claims(claims: Sequence[Claim[Any]]) -> None:
  """Tries one after the other and tells what came of them."""
  scale = Scale(SCALE.value)
  for claim in claims:
    find_setting(claim, scale)
  failed = []
  for number, claim in enumerate(claims, 1):
    if len(claims) > 1:
      print(f'claim {number} of {len(claims)}: {claim.title}', file=sys.stderr, flush=True)
    outcome = try_claim(
      claim,
      scale,
      folder=as_folder('--results', RESULTS.value),
      data_dir=as_folder('--data_dir', DATA_DIR.value),
      force=FORCE.value,
    )
    print(text(outcome), flush=True)
    if outcome.verdict == Verdict.FAILED:
      failed.append(claim.name)
  if failed:
    raise RunError(f'{len(failed)} of {len(claims)} claims failed: {", ".join(failed)}')


def text(outcome: Outcome) -> str:
  """The verdict with every check."""
  title = f'{outcome.claim.name}: {outcome.verdict} ({outcome.seconds:.1f} s)'
  checks = (
    f'  {"holds" if check.holds else "FAILS"}: {check.asks}; found {check.found}'
    for check in outcome.checks
  )
  return '\n'.join([title, *checks])


def write_report() -> None:
  """All claims, of which some may not have been tried."""
  check_writable('--output', OUTPUT.value)
  output = Path(OUTPUT.value).expanduser()
  page = report(CLAIMS, folder=as_folder('--results', RESULTS.value), output=output)
  write_text('--output', OUTPUT.value, page)
  print(f'wrote {OUTPUT.value}')


if __name__ == '__main__':
  command_line.run(main)
