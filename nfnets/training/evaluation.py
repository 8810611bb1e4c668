"""A pass over a split in which every example counts exactly once, on any number of devices."""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import jax

from nfnets.data.images import EvalGeometry
from nfnets.data.pipeline import eval_batches
from nfnets.data.records import Records
from nfnets.errors import InputError, RunError
from nfnets.training.parallel import Mapping

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Scores:
  """Means over the examples of a split."""

  accuracy: float
  """Share of examples whose label scores highest."""
  top5: float
  """Share of examples whose label is among the five that score highest."""
  loss: float
  """Cross-entropy without label smoothing, in nats."""
  examples: int
  unreadable: int
  """Records that could not be read and are not among the examples."""


class Evaluator:
  """Evaluates parameters on one split; the step is compiled once."""

  def __init__(
    self,
    step: Callable[..., Any],
    mapping: Mapping,
    records: Records,
    geometry: EvalGeometry,
    *,
    batch_size: int,
    threads: int = 2,
  ):
    """`step` as `make_eval_step` makes it; `batch_size` is rounded up to fill every device.

    Raises:
      InputError: there are no records.
    """
    if not len(records):
      raise InputError('the evaluation split has no examples: choose another data.eval_split')
    self._step = mapping.eval_step(step)
    self._mapping = mapping
    self._records = records
    self._geometry = geometry
    devices = mapping.num_devices
    self._batch_size = -(-min(batch_size, len(records)) // devices) * devices
    self._threads = threads

  def __call__(self, *models: tuple[Any, Any]) -> tuple[Scores, ...]:
    """Scores of each pair (params, state), all from one pass over the data.

    Args:
      *models: parameters and state, on the devices.

    Raises:
      RunError: no example could be read.
    """
    sums: list[list[Any]] = [[] for _ in models]
    unreadable = 0
    with eval_batches(
      self._records,
      self._geometry,
      batch_size=self._batch_size,
      shard=(jax.process_index(), jax.process_count()),
      threads=self._threads,
    ) as batches:
      for batch in batches:
        unreadable += int(batch.pop('bad_records').sum())
        on_devices = self._mapping.spread(batch)
        for total, (params, state) in zip(sums, models, strict=True):
          total.append(self._step(params, state, on_devices))
        jax.block_until_ready(sums[-1][-1])  # so that batches do not pile up on the devices
    return tuple(_scores(jax.device_get(total), unreadable) for total in sums)


def _scores(batches: list[dict[str, Any]], unreadable: int) -> Scores:
  def total(name: str) -> float:
    return sum(float(batch[name]) for batch in batches)

  examples = round(total('examples'))
  if examples == 0:
    raise RunError('nothing was evaluated: no record of the split could be read')
  return Scores(
    accuracy=total('top1') / examples,
    top5=total('top5') / examples,
    loss=total('loss') / examples,
    examples=examples,
    unreadable=unreadable,
  )
