"""What an evaluation found."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from nfnets.errors import RunError
from nfnets.training.bad_records import BAD_RECORDS


@dataclasses.dataclass(frozen=True)
class Scores:
  """Means over the examples of a split."""

  accuracy: float
  """Share of examples whose label scores highest."""
  top5: float
  """Share of examples whose label is among the five that score highest."""
  loss: float
  """Cross-entropy without label smoothing, in nats."""
  calibration_error: float
  """Expected difference between confidence and accuracy: arXiv 1706.04599, equation 3."""
  examples: int
  unreadable: int
  """Records that could not be read and are not among the examples."""


@dataclasses.dataclass(frozen=True)
class Tally:
  """Sums over the examples of a split, as `score_batch` makes them, in float64."""

  per_class: np.ndarray
  """[num_classes, 4]: examples, right, right among five, loss."""
  by_confidence: np.ndarray
  """[BINS, 3]: examples, confidence, right."""
  unreadable: int

  def scores(self) -> Scores:
    """The means.

    Raises:
      RunError: there are no examples.
    """
    examples, top1, top5, loss = self.per_class.sum(axis=0)
    if examples == 0:
      raise RunError('nothing was evaluated: no record of the split could be read')
    _, confidence, right = self.by_confidence.T
    return Scores(
      accuracy=float(top1 / examples),
      top5=float(top5 / examples),
      loss=float(loss / examples),
      calibration_error=float(np.abs(confidence - right).sum() / examples),
      examples=round(examples),
      unreadable=self.unreadable,
    )


def add_up(batches: Iterable[dict[str, Any]]) -> Tally:
  """The sums of all batches: those of `score_batch`, and how many records were unreadable."""
  sums: dict[str, Any] = {}
  for batch in batches:
    for name, part in batch.items():
      sums[name] = sums.get(name, 0.0) + np.asarray(part, np.float64)
  return Tally(sums['per_class'], sums['by_confidence'], int(sums[BAD_RECORDS]))
