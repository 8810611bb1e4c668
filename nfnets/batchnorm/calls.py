"""One call of a batch normalization module: Haiku's or ours, as one thing.

In evaluation a module normalizes by averages that it reads from two inner modules.  Whoever answers
in their place decides what it normalizes by; its parameters, its epsilon, its data format and its
gradients stay its own affair.
"""

import abc
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import haiku as hk
import jax

from nfnets.batchnorm.moments import Axes, Moments, averaged
from nfnets.models.normalization import Average, BatchNorm

Interceptor = Callable[[Callable[..., Any], tuple[Any, ...], Any, hk.MethodContext], Any]
"""As `hk.intercept_methods` takes it."""

_READING = ('average', 'read')  # what averages are asked by: Haiku's, ours
_UPDATING = ('__call__', 'update')


class Call(abc.ABC):
  """A module that was called with a batch, and has computed nothing yet."""

  path: str
  """Of the module: where its parameters are."""
  inputs: jax.Array
  """[N, ...]"""
  is_training: bool
  axes: Axes
  """What its statistics are taken over."""

  def __init__(self, context: hk.MethodContext, arguments: Mapping[str, Any]):
    self._module: Any = context.module
    self.path = self._module.module_name
    self._compute = context.orig_method
    self._arguments = dict(arguments)

  @abc.abstractmethod
  def by_averages(self) -> jax.Array:
    """Normalized as in evaluation, by the averages that the state holds."""

  @abc.abstractmethod
  def remember(self, moments: Moments) -> None:
    """Lets the moving averages take in what the batch was normalized by."""

  @abc.abstractmethod
  def _averages(self) -> tuple[hk.Module, hk.Module]:
    """The modules that keep the averages of mean and variance."""

  def by(self, moments: Moments) -> jax.Array:
    """Normalized by `moments`."""
    answers = tuple(zip(self._averages(), moments, strict=True))

    def answer(
      call: Callable[..., Any], args: tuple[Any, ...], kwargs: Any, context: hk.MethodContext
    ) -> Any:
      for module, value in answers:
        if context.module is module and context.method_name in _READING:
          return value
      return call(*args, **kwargs)

    with hk.intercept_methods(answer):
      return self.by_averages()


class _HaikuCall(Call):
  def __init__(self, context: hk.MethodContext, arguments: Mapping[str, Any]):
    super().__init__(context, arguments)
    self.inputs, self.is_training = arguments['inputs'], bool(arguments['is_training'])
    dims = self.inputs.ndim
    channels = self._module.channel_index % dims
    axes = self._module.axis or [axis for axis in range(dims) if axis != channels]
    self.axes = tuple(sorted(axis % dims for axis in axes))

  def by_averages(self) -> jax.Array:
    return self._compute(**(self._arguments | {'is_training': False, 'test_local_stats': False}))

  def remember(self, moments: Moments) -> None:
    for average, value in zip(self._averages(), averaged(moments, self.axes), strict=True):
      average(value.astype(self.inputs.dtype))  # which is what its state has

  def _averages(self) -> tuple[Any, Any]:
    return self._module.mean_ema, self._module.var_ema


class _OurCall(Call):
  def __init__(self, context: hk.MethodContext, arguments: Mapping[str, Any]):
    super().__init__(context, arguments)
    self.inputs, self.is_training = arguments['x'], arguments['mode'].is_training
    self.axes = (0, 1, 2)

  def by_averages(self) -> jax.Array:
    mode = dataclasses.replace(self._arguments['mode'], is_training=False)
    return self._compute(**(self._arguments | {'mode': mode}))

  def remember(self, moments: Moments) -> None:
    for average, value in zip(self._averages(), averaged(moments, self.axes), strict=True):
      average.update(value)

  def _averages(self) -> tuple[Any, Any]:
    return self._module.mean_average, self._module.variance_average


_CALLS: dict[type[hk.Module], type[Call]] = {hk.BatchNorm: _HaikuCall, BatchNorm: _OurCall}


def on_calls(handle: Callable[[Call], jax.Array | None]) -> Interceptor:
  """Lets `handle` compute what batch normalization modules return; None leaves it to them.

  While parameters are initialized the modules are left alone: they ask for all they have.
  """

  def intercept(
    call: Callable[..., Any], args: tuple[Any, ...], kwargs: Any, context: hk.MethodContext
  ) -> Any:
    kind = _CALLS.get(context.orig_class)  # not that of the module: subclasses call their parent's
    if kind is None or context.method_name != '__call__' or hk.running_init():
      return call(*args, **kwargs)
    signature = inspect.signature(context.orig_class.__call__)
    arguments = dict(signature.bind(context.module, *args, **kwargs).arguments)
    del arguments['self']
    found = handle(kind(context, arguments))
    return call(*args, **kwargs) if found is None else found

  return intercept


def on_updates(decay: float) -> Interceptor:
  """Lets the moving averages of batch normalization have another decay."""

  def intercept(
    call: Callable[..., Any], args: tuple[Any, ...], kwargs: Any, context: hk.MethodContext
  ) -> Any:
    module: Any = context.module
    is_update = context.method_name in _UPDATING
    if not is_update or not isinstance(module, hk.ExponentialMovingAverage | Average):
      return call(*args, **kwargs)
    if module.name not in ('mean_ema', 'var_ema'):  # as both classes name theirs
      return call(*args, **kwargs)
    own, module.decay = module.decay, decay
    try:
      return call(*args, **kwargs)
    finally:
      module.decay = own

  return intercept
