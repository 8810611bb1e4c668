"""The report: all claims as Markdown, with verdicts, numbers and pictures."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nfnets.claims.claim import Check, Claim, Scale
from nfnets.claims.outcome import Outcome, Verdict, read_outcome
from nfnets.claims.results import picture_file
from nfnets.progress import clock_time

_COMMAND = 'scripts/reproduce.py'


def report(claims: Sequence[Claim[Any]], *, folder: Path, output: Path) -> str:
  """What came of all claims, as Markdown.

  Args:
    claims: in the order of the report.
    folder: keeps their results and pictures.
    output: the file that the text is for: pictures are linked relative to it.

  Raises:
    InputError: a file of results is damaged.
  """
  outcomes = [outcome for claim in claims for outcome in _outcomes(claim, folder)]
  where = os.path.relpath(folder, output.parent)
  parts = [
    _HEAD.format(command=_COMMAND),
    '\n'.join(_summary(outcomes)),
    '\n'.join(_table(outcomes)),
    *(_section(outcome, where) for outcome in outcomes),
  ]
  return '\n\n'.join(parts) + '\n'


_HEAD = """# The papers' claims, tried

What papers say about networks with and without normalization, each as a small experiment with a
rule that was fixed before it was run. A claim that failed stays here with its numbers. This page
is written by `{command} report`."""


def _outcomes(claim: Claim[Any], folder: Path) -> Iterator[Outcome]:
  """At every scale; at the larger one only if something was found or there is no other."""
  for scale in claim.settings:
    outcome = read_outcome(folder, claim, scale)
    if outcome.found or scale == Scale.CPU or len(claim.settings) == 1:
      yield outcome


def _summary(outcomes: Iterable[Outcome]) -> Iterator[str]:
  for scale in Scale:
    tried = [outcome for outcome in outcomes if outcome.scale == scale]
    if not tried:
      continue
    words = [outcome.verdict if outcome.found else _verdict(outcome) for outcome in tried]
    counts = [f'{words.count(word)} {word}' for word in dict.fromkeys(words)]
    seconds = sum(outcome.seconds for outcome in tried)
    yield (
      f'- {len(tried)} at `--scale={scale}`: {"; ".join(counts)}. '
      f'All cells together took {seconds:,.0f} s ({clock_time(seconds)}).'
    )


def _table(outcomes: Iterable[Outcome]) -> Iterator[str]:
  yield '| claim | paper | size | verdict | seconds |'
  yield '| --- | --- | --- | --- | ---: |'
  for outcome in outcomes:
    claim = outcome.claim
    seconds = f'{outcome.seconds:,.0f}' if outcome.found else ''
    yield (
      f'| [{claim.title}](#{_anchor(outcome)}) | {claim.paper.short}, {claim.where} '
      f'| {outcome.setting.cost} | {_verdict(outcome)} | {seconds} |'
    )


def _section(outcome: Outcome, where: str) -> str:
  claim = outcome.claim
  flag = '' if outcome.scale == Scale.CPU else f' --scale={outcome.scale}'
  data = '' if outcome.setting.dataset is None else ' --data_dir=data'
  lines = [
    f'<a id="{_anchor(outcome)}"></a>',
    f'## {claim.title}: {_verdict(outcome)}',
    f'**The paper** ([{claim.paper.authors}]({claim.paper.url}), {claim.where}): {claim.says}',
    f'**The rule**: {claim.rule}',
    *_found(outcome, where),
    f'```sh\n{_COMMAND} run {claim.name}{flag}{data}\n```',
  ]
  if Scale.GPU in claim.settings and outcome.scale != Scale.GPU:
    lines.append(f'Larger, on a GPU: `--scale={Scale.GPU}`.')
  return '\n\n'.join(lines)


def _found(outcome: Outcome, where: str) -> Iterator[str]:
  """Checks, picture, and what it was measured with."""
  if outcome.verdict == Verdict.INCOMPLETE:
    return
  yield '\n'.join(_checks(outcome.checks))
  file = picture_file(Path(where), outcome.claim, outcome.scale).as_posix()
  yield f'![{outcome.claim.title}]({file})'
  found = outcome.found.values()
  devices, dates = sorted({one.device for one in found}), sorted({one.date for one in found})
  versions = sorted({f'nfnets {one.nfnets}, jax {one.jax}' for one in found})
  yield (
    f'{len(found)} cells in {outcome.seconds:,.1f} s on {", ".join(devices)}; '
    f'{"; ".join(versions)}; {" to ".join(dict.fromkeys((dates[0], dates[-1])))}.'
  )


def _checks(checks: Iterable[Check]) -> Iterator[str]:
  yield '| what must hold | found | holds |'
  yield '| --- | --- | --- |'
  for check in checks:
    yield f'| {_cell(check.asks)} | {_cell(check.found)} | {"yes" if check.holds else "**no**"} |'


def _cell(text: str) -> str:
  return text.replace('|', '\\|')


def _verdict(outcome: Outcome) -> str:
  if outcome.verdict != Verdict.INCOMPLETE:
    return outcome.verdict
  if outcome.found:
    return f'{len(outcome.found)} of {len(outcome.setting.cells)} cells'
  return 'needs a GPU, not run' if outcome.scale == Scale.GPU else 'not run'


def _anchor(outcome: Outcome) -> str:
  return outcome.claim.name if outcome.scale == Scale.CPU else f'{outcome.claim.name}-gpu'
