"""A look into a network while it runs: values tapped by name, free where nobody looks."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax

_P = ParamSpec('_P')
_R = TypeVar('_R')
_Tapped = dict[str, list[Any]]
_Collector = tuple[_Tapped, Callable[[jax.Array], Any]]

_COLLECTOR: contextvars.ContextVar[_Collector | None] = contextvars.ContextVar('tap', default=None)


def tap(name: str, x: jax.Array) -> jax.Array:
  """Returns `x`, and shows it to `collect`.

  For the curves of a signal propagation plot a network taps the output of every residual block as
  'block' and the end of every residual branch, before it is scaled and added, as 'branch'.
  """
  if collector := _COLLECTOR.get():
    tapped, reduce = collector
    tapped.setdefault(name, []).append(reduce(x))
  return x


def collect(
  function: Callable[_P, _R], reduce: Callable[[jax.Array], Any]
) -> Callable[_P, tuple[_R, _Tapped]]:
  """`function` that also returns `reduce` of everything tapped while it ran.

  What it returns may be jitted.  Taps inside of `lax.scan`, `jax.checkpoint` and other functions
  that JAX traces within `function` cannot be collected; the networks of this package run without
  those while `is_collecting`.

  Returns:
    A function that gives the outputs, and name -> the reduced values in the order of the taps.
  """

  @functools.wraps(function)
  def collected(*args: _P.args, **kwargs: _P.kwargs) -> tuple[_R, _Tapped]:
    tapped: _Tapped = {}
    with _collecting((tapped, reduce)):
      outputs = function(*args, **kwargs)
    return outputs, tapped

  return collected


def is_collecting() -> bool:
  """Whether what is tapped now is looked at."""
  return _COLLECTOR.get() is not None


@contextlib.contextmanager
def _collecting(collector: _Collector) -> Iterator[None]:
  token = _COLLECTOR.set(collector)
  try:
    yield
  finally:
    _COLLECTOR.reset(token)
