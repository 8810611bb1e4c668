"""What every claim has."""

import collections
import dataclasses
import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from nfnets.claims.claim import Claim, Cost, Scale
from nfnets.claims.outcome import Verdict, read_outcome
from nfnets.claims.papers import PAPERS
from nfnets.claims.table import CLAIMS, find_claim
from nfnets.data.datasets import DATASETS
from nfnets.errors import InputError

KEPT = Path(__file__).parents[2] / 'docs' / 'results' / 'claims'
EACH_CLAIM = pytest.mark.parametrize('claim', CLAIMS, ids=lambda claim: claim.name)


def test_names_are_unique_and_found():
  names = [claim.name for claim in CLAIMS]
  assert max(collections.Counter(names).values()) == 1
  assert max(collections.Counter(claim.title for claim in CLAIMS).values()) == 1
  assert find_claim('path_lengths').name == 'path_lengths'
  with pytest.raises(InputError, match=r"^claim='path_length' is not known: did you mean path_l"):
    find_claim('path_length')


def test_a_cpu_tries_at_least_25():
  assert sum(Scale.CPU in claim.settings for claim in CLAIMS) >= 25


@EACH_CLAIM
def test_the_guide_explains_it(claim: Claim):
  guide = (KEPT.parents[1] / 'claims-guide.md').read_text(encoding='utf-8')
  section = guide.partition(f'(results/claims.md#{claim.name})')[2].partition('\n### ')[0]
  assert len(section.split()) > 40
  assert '[numbers' not in section


def is_frozen(cell: object) -> bool:
  parameters = getattr(type(cell), '__dataclass_params__', None)
  return isinstance(cell, tuple) or (dataclasses.is_dataclass(cell) and parameters.frozen)


@EACH_CLAIM
def test_a_claim_says_what_it_is(claim: Claim):
  assert re.fullmatch(r'[a-z][a-z0-9_]+', claim.name)
  assert claim.paper in PAPERS
  assert '\n' not in claim.title + claim.says + claim.rule + claim.where
  assert min(map(len, (claim.title, claim.where, claim.says, claim.rule))) > 5
  assert claim.says.endswith('.')
  assert claim.rule.endswith('.')
  assert claim.settings
  assert set(claim.settings) <= set(Scale)
  for scale, setting in claim.settings.items():
    assert (setting.cost == Cost.GPU) == (scale == Scale.GPU)
    assert setting.dataset is None or setting.dataset in DATASETS
    assert setting.cells


@EACH_CLAIM
def test_the_text_of_a_cell_is_what_it_depends_on(claim: Claim):
  for setting in claim.settings.values():
    cells = setting.cells.values()
    assert all(map(is_frozen, cells))
    assert not any(re.search(r' at 0x|<function|/home|/tmp', repr(cell)) for cell in cells)


@EACH_CLAIM
def test_what_is_kept_is_of_the_cells_as_they_are(claim: Claim):
  """What lies in docs/results/claims: judged as the report says it, and drawn."""
  for scale in claim.settings:
    outcome = read_outcome(KEPT, claim, scale)
    if outcome.verdict == Verdict.INCOMPLETE:
      continue
    assert outcome.checks
    assert all(check.asks and check.found for check in outcome.checks)
    figure = Figure()
    claim.draw(figure, outcome.results)
    assert figure.axes
