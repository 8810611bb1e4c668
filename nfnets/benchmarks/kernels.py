"""What a step does beside convolving: by the kernels for CPUs, and as XLA compiles the plain form.

Both in one process, in turns: the update of a network's parameters, and the standardization of all
its kernels with its gradient.
"""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nfnets.benchmarks.timing import time_calls
from nfnets.benchmarks.train import TRAINING_IMAGES, make_config
from nfnets.benchmarks.workload import Workload
from nfnets.errors import InputError
from nfnets.models.design import standardization
from nfnets.models.inspection import count_parameters
from nfnets.native import are_in_use
from nfnets.training.derived import derive
from nfnets.training.kernel_update import make_rule, with_kernels
from nfnets.training.optimizer import make_optimizer
from nfnets.training.state import create_state
from nfnets.training.update import Before, Update, make_update

_SECONDS = 0.5
_GROUPS = 3  # of calls, for a median
_TURNS = 2

Call = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Times:
  """Seconds of a part of a step."""

  model: str
  part: str
  numbers: int
  """That it moves, or standardizes."""
  kernels: float
  xla: float


def measure(models: Sequence[str], *, progress: Callable[[str], None]) -> list[Times]:
  """Times both parts of every network in float32.

  Raises:
    InputError: the kernels are not in use here.
  """
  if not are_in_use():
    raise InputError('kernels: none are in use; they take a CPU alone, and a C++ compiler')
  return [times for name in models for times in _of_network(name, progress)]


def _of_network(name: str, progress: Callable[[str], None]) -> list[Times]:
  config = make_config(Workload(model=name, batch_size=8, size=None, precision='float32'))
  derived = derive(config, TRAINING_IMAGES)
  optimizer, schedule = make_optimizer(config, derived)
  depths, decay = derived.model.variant.depths, config.optimizer.ema_decay
  plain = make_update(optimizer, schedule, config.optimizer, depths=depths, frozen=())
  rule = make_rule(config, derived)
  assert rule is not None  # the recipe is the paper's
  ours = with_kernels(plain, rule, schedule, max_ema_decay=decay, depths=depths)
  state = create_state(derived.model, optimizer, jax.random.key(0))
  progress(f'{name}: update')
  before = Before(
    state.step, state.params, state.opt_state, state.ema_params, state.params, jnp.ones(())
  )
  calls = [_in_place(update, before) for update in (ours, plain)]
  times = [Times(name, 'update', count_parameters(state.params), *_in_turns(calls))]
  layers = [leaves for leaves in state.params.values() if 'gain' in leaves]
  if not layers:
    return times
  progress(f'{name}: standardization')
  rule = standardization(derived.model.variant)
  calls = [_standardizing(form, layers) for form in (rule, rule.plain)]
  numbers = sum(leaves['w'].size for leaves in layers)
  return [*times, Times(name, 'standardization', numbers, *_in_turns(calls))]


def _in_place(update: Update, before: Before) -> Call:
  """Steps one after the other, each in the memory of the one before, with the same gradients."""
  kept = jax.tree.map(jnp.copy, (before.params, before.opt_state, before.ema_params))

  def step(kept: Any, step: jax.Array, gradients: Any, loss: jax.Array) -> Any:
    params, opt_state, ema_params = kept
    after = update(Before(step, params, opt_state, ema_params, gradients, loss))
    return (after.params, after.opt_state, after.ema_params), after.figures

  function = jax.jit(step, donate_argnums=0)

  def once() -> Any:
    nonlocal kept
    kept, figures = function(kept, before.step, before.gradients, before.loss)
    return figures

  return once


def _standardizing(form: Callable[..., jax.Array], layers: Sequence[Any]) -> Call:
  """All kernels, and the gradients by them and their gains."""

  def both(kernels: Any, gains: Any, cotangents: Any) -> Any:
    standardized, transpose = jax.vjp(lambda *x: list(map(form, *x)), kernels, gains)
    return standardized, transpose(cotangents)

  kernels = [leaves['w'] for leaves in layers]
  gains = [leaves['gain'] for leaves in layers]
  cotangents = list(map(jnp.copy, kernels))
  function = jax.jit(both)
  return lambda: function(kernels, gains, cotangents)


def _in_turns(calls: Sequence[Call]) -> list[float]:
  """The median of each."""
  seconds: list[list[float]] = [[] for _ in calls]
  for _ in range(_TURNS):
    for one, call in zip(seconds, calls, strict=True):
      one += time_calls(call, groups=_GROUPS, seconds=_SECONDS).seconds
  return list(map(statistics.median, seconds))


def markdown(measured: Sequence[Times]) -> str:
  """The times as a Markdown table."""
  rows = [
    '| network | part | numbers | kernels | XLA | ratio |',
    '| --- | --- | ---: | ---: | ---: | ---: |',
  ]
  for times in measured:
    cells = [
      f'{times.numbers / 1e6:.1f} M',
      *(f'{x * 1e3:.1f} ms' for x in (times.kernels, times.xla)),
      f'{times.xla / times.kernels:.2f}',
    ]
    rows.append(f'| {times.model} | {times.part} | {" | ".join(cells)} |')
  return '\n'.join(rows)
