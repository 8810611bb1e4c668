"""Records that could not be read: counted over all hosts, in the step that their batch takes.

So the count is the same on every host at every step, and costs no message of its own.
"""

from collections.abc import Callable
from typing import Any

import jax

from nfnets.training.step import AXIS

BAD_RECORDS = 'bad_records'
"""Their name in batches and in metrics."""


def counting_train_step(step: Callable[..., Any]) -> Callable[..., Any]:
  """`step` for batches that say how many records were passed over; its metrics count them."""

  def counting(state: Any, batch: dict[str, jax.Array]) -> tuple[Any, dict[str, jax.Array]]:
    bad, rest = _split(batch)
    state, metrics = step(state, rest)
    return state, metrics | bad

  return counting


def counting_eval_step(step: Callable[..., Any]) -> Callable[..., Any]:
  """The same for a step `step(params, state, batch) -> sums`."""

  def counting(params: Any, state: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    bad, rest = _split(batch)
    return step(params, state, rest) | bad

  return counting


def _split(batch: dict[str, jax.Array]) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
  """How many records of all hosts are bad, and what is left of the batch."""
  rest = {name: part for name, part in batch.items() if name != BAD_RECORDS}
  return {BAD_RECORDS: jax.lax.psum(batch[BAD_RECORDS].sum(), AXIS)}, rest


class BadRecords:
  """How many there were so far in an epoch; in the next one the same are met again."""

  def __init__(self, step: int, steps_per_epoch: float):
    """Counts from `step` on."""
    self.step, self._steps_per_epoch = step, steps_per_epoch
    self.count, self.epoch = 0, 0

  def add(self, records: int) -> None:
    """Counts those of the next step."""
    epoch = int(self.step / self._steps_per_epoch)
    self.count = records + (self.count if epoch == self.epoch else 0)
    self.epoch = epoch
    self.step += 1
