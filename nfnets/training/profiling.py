"""A trace of a few steps of a run: what devices and host did, microsecond by microsecond."""

from pathlib import Path

import jax

PROFILE = 'profile'
"""The folder of a run's trace, in its work folder."""

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

  def is_due(self, taken: int, *, last: bool) -> bool:
    """Whether to turn it on or off, after so many steps of this process or the last of the run."""
    if not self._steps:
      return False
    return last or taken == (WARM_UP if self._from is None else WARM_UP + self._steps)

  def turn(self, step: int, *, last: bool) -> str:
    """Turns it on or off after `step`, which must be done; returns a line for a person."""
    if self._from is not None:
      self._stop()
      return (
        f'traced steps {self._from} to {step}: `tensorboard --logdir={self._folder}` shows them '
        '(with the package xprof), or https://ui.perfetto.dev the *.trace.json.gz in there'
      )
    if last:
      self._steps = 0
      return f'nothing is traced: there were no more than {WARM_UP} steps left'
    self._from = step + 1
    jax.profiler.start_trace(self._folder, profiler_options=_options())
    return f'tracing {self._steps} steps from {self._from} on'

  def _stop(self) -> None:
    self._steps = 0
    jax.profiler.stop_trace()

  def __enter__(self) -> 'Trace':
    return self

  def __exit__(self, *unused: object) -> None:
    if self._from is not None and self._steps:
      self._stop()


def _options() -> jax.profiler.ProfileOptions:
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0  # every call of every thread would drown what matters
  return options
