"""A trace of a few steps of a run: what devices and host did, microsecond by microsecond."""

from pathlib import Path
from typing import Any

import jax

WARM_UP = 2
"""Steps before a trace: the first is compiled, the second waits for input that is not ready yet."""


class Trace:
  """Traces `steps` steps, the first that are like all others, into a folder.

  In a `with` block, so that an error leaves no trace open.  What is computed stays the same.
  """

  def __init__(self, folder: Path, steps: int):
    """`steps`: how many; 0 for no trace at all."""
    self._folder, self._steps = folder, steps
    self._from: int | None = None

  def after(self, taken: int, step: int, metrics: Any, *, last: bool) -> str | None:
    """Begins or ends the trace, if it is time to; to be called after every step.

    Args:
      taken: the steps that this process has taken.
      step: the number of the step taken, in the run.
      metrics: what the step returned; it is waited for where the trace begins and ends.
      last: whether no step follows.

    Returns:
      A line for a person, once the trace is there.
    """
    if not self._steps:
      return None
    if self._from is None:
      if last:
        return f'no trace: a run must have more than {WARM_UP} steps left'
      if taken == WARM_UP:
        jax.block_until_ready(metrics)
        self._from = step + 1
        jax.profiler.start_trace(self._folder, profiler_options=_options())
      return None
    if not last and taken < WARM_UP + self._steps:
      return None
    jax.block_until_ready(metrics)
    jax.profiler.stop_trace()
    self._steps = 0
    return (
      f'traced steps {self._from} to {step}: tensorboard --logdir={self._folder} shows them (with '
      'its profile plugin, the package xprof), or https://ui.perfetto.dev the *.trace.json.gz there'
    )

  def __enter__(self) -> 'Trace':
    return self

  def __exit__(self, *unused: object) -> None:
    if self._from is not None and self._steps:
      jax.profiler.stop_trace()
      self._steps = 0


def _options() -> jax.profiler.ProfileOptions:
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0  # every call of every thread would drown what matters
  return options
