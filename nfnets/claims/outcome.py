"""What came of a claim: the rule, applied to what was found so far."""

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from nfnets.claims.claim import Check, Claim, Scale, Setting
from nfnets.claims.results import Found, read_results, results_file
from nfnets.errors import InputError


class Verdict(enum.StrEnum):
  """Whether a claim holds here."""

  PASSED = 'passed'
  FAILED = 'failed'
  INCOMPLETE = 'not complete'
  """Cells are missing: it is not judged."""


class Outcome(NamedTuple):
  """A claim with what was found at one scale."""

  claim: Claim
  scale: Scale
  found: Mapping[str, Found]
  checks: tuple[Check, ...]
  """Nothing before all cells are there."""

  @property
  def setting(self) -> Setting:
    """What is tried."""
    return self.claim.settings[self.scale]

  @property
  def verdict(self) -> Verdict:
    """Passed if every check holds."""
    if len(self.found) < len(self.setting.cells):
      return Verdict.INCOMPLETE
    return Verdict.PASSED if all(check.holds for check in self.checks) else Verdict.FAILED

  @property
  def seconds(self) -> float:
    """That the cells took."""
    return sum(one.seconds for one in self.found.values())

  @property
  def results(self) -> dict[str, Mapping]:
    """What the cells found, as rules and pictures take it."""
    return {name: one.measured for name, one in self.found.items()}


def find_setting(claim: Claim, scale: Scale) -> Setting:
  """What is tried at a scale.

  Raises:
    InputError: the claim has no such setting.
  """
  if scale not in claim.settings:
    raise InputError(f'--scale={scale}: {claim.name} is tried with {_scales(claim)} alone')
  return claim.settings[scale]


def _scales(claim: Claim) -> str:
  return ' and '.join(f'--scale={scale}' for scale in claim.settings)


def judged(claim: Claim, scale: Scale, found: Mapping[str, Found]) -> Outcome:
  """The rule, applied if all cells are there."""
  outcome = Outcome(claim, scale, found, ())
  if len(found) < len(outcome.setting.cells):
    return outcome
  checks = claim.judge(outcome.results)
  # NumPy has a truth of its own.
  return outcome._replace(checks=tuple(one._replace(holds=bool(one.holds)) for one in checks))


def read_outcome(folder: Path, claim: Claim, scale: Scale) -> Outcome:
  """What came of a claim, from what is kept in `folder`.

  Raises:
    InputError: its file is damaged, or what is in it is not what the rule asks for.
  """
  path = results_file(folder, claim, scale)
  try:
    return judged(claim, scale, read_results(path, claim, scale))
  except KeyError as error:
    raise InputError(
      f'{path} lacks {error}, which the rule of {claim.name} asks for: another version measured '
      'it; measure again with --force'
    ) from error
