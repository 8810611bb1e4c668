"""Networks whose batch normalization takes other statistics: function in, function out.

Each takes the `apply` of any Haiku network, `hk.transform_with_state(...).apply` or that of a model
of the zoo, and gives one of the same arguments.  Nothing in the network changes: while it is traced
the calls of `hk.BatchNorm` and of our own modules are intercepted.

A transformed function is a new function, so `jax.jit` compiles it for itself; make it once and keep
it.  What is compiled already cannot be changed any more, and is refused.  Of several
transforms that want the same call, the outermost has it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import haiku as hk
import jax

from nfnets.arguments import check_number
from nfnets.batchnorm.calls import Call, Interceptor, on_calls, on_updates
from nfnets.batchnorm.moments import Statistics, of_batch, of_groups, of_replicas
from nfnets.errors import InputError

_P = ParamSpec('_P')
_R = TypeVar('_R')


def ghost(apply: Callable[_P, _R], size: int) -> Callable[_P, _R]:
  """While training, every `size` examples in a row are normalized by their own statistics.

  That is ghost batch normalization: a normalization batch smaller than the batch of SGD (Wu and
  Johnson 2021, section 4; Hoffer et al. 2017, arXiv 1705.08741).  The moving averages take in the
  mean of the groups' means and that of their variances, as those of many small batches would.

  Args:
    apply: of a network.
    size: the normalization batch size; it must divide the number of examples in a batch.

  Raises:
    InputError: the size is no whole number from 1 on, or `apply` is compiled; when it is traced:
      the size does not divide the batch.
  """
  return _training(apply, _groups(size))


def synced(
  apply: Callable[_P, _R], axis: str, groups: Sequence[Sequence[int]] | None = None
) -> Callable[_P, _R]:
  """While training, all devices are normalized by statistics of their batches together (SyncBN).

  A normalization batch larger than that of a device (section 4), exact in value and in gradient:
  gradients of the devices' own mean losses, averaged over the devices, are those of the mean loss
  of the joint batch.  To be run under `jax.pmap`, `jax.shard_map` or `jax.vmap` with that axis.

  Args:
    apply: of a network.
    axis: name of the mapped axis; every device has as many examples.
    groups: of device numbers, as `jax.lax.pmean` takes them, for batches between one device's and
      all; None for all.
  """
  return _training(apply, functools.partial(of_replicas, axis=axis, groups=groups))


def batch_statistics(apply: Callable[_P, _R], size: int | None = None) -> Callable[_P, _R]:
  """In evaluation too, the network normalizes by statistics of the batch it is given (section 4).

  The averages in the state are neither used nor changed.  Training stays as it is.

  Args:
    apply: of a network.
    size: statistics are those of so many examples in a row; None for the whole batch.

  Raises:
    InputError: see `ghost`.
  """
  statistics = of_batch if size is None else _groups(size)

  def handle(call: Call) -> jax.Array | None:
    return None if call.is_training else call.by(statistics(call.inputs, call.axes))

  return _intercepted(apply, on_calls(handle))


def frozen(apply: Callable[_P, _R]) -> Callable[_P, _R]:
  """While training too, the network normalizes by the averages in its state (FrozenBN, section 4).

  They stay as they are; scale and offset learn, as all other parameters do.
  """

  def handle(call: Call) -> jax.Array | None:
    return call.by_averages() if call.is_training else None

  return _intercepted(apply, on_calls(handle))


def with_decay(apply: Callable[_P, _R], decay: float) -> Callable[_P, _R]:
  """While training, the moving averages have another decay than the network was made with.

  `average <- decay * average + (1 - decay) * batch statistics` (section 3).  With 0 the new state
  holds the statistics of the batch itself.

  Raises:
    InputError: the decay is not in [0, 1), or `apply` is compiled.
  """
  check_number('decay', decay, at_least=0, below=1)
  return _intercepted(apply, on_updates(decay))


def _groups(size: int) -> Statistics:
  check_number('size', size, at_least=1)
  if size != int(size):
    raise InputError(f'size={size!r} must be a whole number of examples')
  return functools.partial(of_groups, size=int(size))


def _training(apply: Callable[_P, _R], statistics: Statistics) -> Callable[_P, _R]:
  def handle(call: Call) -> jax.Array | None:
    if not call.is_training:
      return None
    moments = statistics(call.inputs, call.axes)
    call.remember(moments)
    return call.by(moments)

  return _intercepted(apply, on_calls(handle))


def _intercepted(apply: Callable[_P, _R], interceptor: Interceptor) -> Callable[_P, _R]:
  if hasattr(apply, 'lower'):
    raise InputError(f'apply={apply!r} is compiled: transform it first, and compile what you get')

  @functools.wraps(apply)
  def applied(*args: _P.args, **kwargs: _P.kwargs) -> _R:
    with hk.intercept_methods(interceptor):
      return apply(*args, **kwargs)

  return applied
