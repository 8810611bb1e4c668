"""A pass over a split in which every example counts exactly once, on any number of devices."""

import itertools
import logging
from collections.abc import Callable
from typing import Any

import jax

from nfnets.data.images import CropGeometry, EvalGeometry
from nfnets.data.pipeline import eval_batches
from nfnets.data.records import Records
from nfnets.errors import InputError
from nfnets.training.bad_records import counting_eval_step
from nfnets.training.parallel import Mapping
from nfnets.training.scores import Scores, Tally, add_up

_LOG = logging.getLogger(__name__)


class Evaluator:
  """Evaluates parameters on one split; the step is compiled once."""

  def __init__(
    self,
    step: Callable[..., Any],
    mapping: Mapping,
    records: Records,
    geometry: EvalGeometry | CropGeometry,
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
    self._step = mapping.eval_step(counting_eval_step(step))
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
    return tuple(tally.scores() for tally in self.tally(*models))

  def look(self, *models: tuple[Any, Any]) -> tuple[Scores, ...]:
    """As a call, but of the first batch alone: it shows soon whether evaluation works at all."""
    return tuple(tally.scores() for tally in self.tally(*models, most=1))

  def tally(
    self,
    *models: tuple[Any, Any],
    progress: Callable[[int, int], None] | None = None,
    most: int | None = None,
  ) -> tuple[Tally, ...]:
    """The sums that the scores are made of, class by class.

    Args:
      *models: parameters and state, on the devices.
      progress: called after every batch with the examples done and those there are.
      most: batches to take; None for all.
    """
    sums: list[list[Any]] = [[] for _ in models]
    done = 0
    with eval_batches(
      self._records,
      self._geometry,
      batch_size=self._batch_size,
      shard=(jax.process_index(), jax.process_count()),
      threads=self._threads,
    ) as batches:
      for batch in itertools.islice(batches, most):
        on_devices = self._mapping.spread(batch)
        for total, (params, state) in zip(sums, models, strict=True):
          total.append(self._step(params, state, on_devices))
        jax.block_until_ready(sums[-1][-1])  # so that batches do not pile up on the devices
        done = min(done + self._batch_size, len(self._records))
        if progress is not None:
          progress(done, len(self._records))
    return tuple(map(add_up, jax.device_get(sums)))
