"""A convolution with its bias and the nonlinearity behind it, as one function.

CPUs compute all three while a part of the result is near (`nfnets.native`); apart, the bias and the
nonlinearity read and write everything once more.  Elsewhere, and wherever it is differentiated, it
is the three one after the other: a gradient needs what lies between them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from nfnets.models import native_convolution
from nfnets.models.convolution import convolve_within
from nfnets.models.varying import vary_alike
from nfnets.models.windows import Window
from nfnets.native.lowering import register

ACTIVATED = 'activated_convolution'
"""Name of the primitive, for who reads programs."""

_Activation = Callable[[jax.Array], jax.Array]


def convolve_activated(
  x: jax.Array,
  kernel: jax.Array,
  bias: jax.Array,
  activation: _Activation,
  *,
  stride: int = 1,
  groups: int = 1,
  symmetric_padding: bool = False,
) -> jax.Array:
  """`activation(convolve(x, kernel, ...) + bias)`; see `convolve`.

  Args:
    x: [N, H, W, C].
    kernel: [h, w, C / groups, out].
    bias: [out].
    activation: elementwise, and hashable.
    stride: as of `convolve`, and so the others.
    groups: of the channels.
    symmetric_padding: or else 'SAME'.

  Returns:
    [N, ceil(H / stride), ceil(W / stride), out].
  """
  window = Window.between(
    x.shape, kernel.shape, stride=stride, groups=groups, symmetric_padding=symmetric_padding
  )
  if activation not in native_convolution.ACTIVATIONS:
    return _apart(x, kernel, bias, activation=activation, window=window)
  return _activated.bind(*vary_alike(x, kernel, bias), activation=activation, window=window)


def _apart(
  x: jax.Array, kernel: jax.Array, bias: jax.Array, *, activation: _Activation, window: Window
) -> jax.Array:
  return activation(convolve_within(window, x, kernel) + bias)


def _by_kernel(
  x: jax.Array, kernel: jax.Array, bias: jax.Array, *, activation: _Activation, window: Window
) -> jax.Array:
  served = bias.dtype == x.dtype and native_convolution.serves(window, x, kernel, kernel.shape[3])
  if not served:
    return _apart(x, kernel, bias, activation=activation, window=window)
  return native_convolution.activated(x, kernel, bias, activation=activation, window=window)


def _infer(x: Any, kernel: Any, bias: Any, *, activation: _Activation, window: Window) -> Any:
  del bias, activation
  return x.update(shape=(x.shape[0], *window.output, kernel.shape[3]))


def _batch(operands: Any, axes: Any, **parameters: Any) -> tuple[jax.Array, int]:
  return jax.vmap(functools.partial(_apart, **parameters), axes)(*operands), 0


def _differentiate(primals: Any, tangents: Any, **parameters: Any) -> tuple[Any, Any]:
  moved = [i for i, tangent in enumerate(tangents) if type(tangent) is not ad.Zero]

  def of_moved(*some: jax.Array) -> jax.Array:
    operands = list(primals)
    for i, operand in zip(moved, some, strict=True):
      operands[i] = operand
    return _apart(*operands, **parameters)

  return jax.jvp(of_moved, [primals[i] for i in moved], [tangents[i] for i in moved])


_activated = Primitive(ACTIVATED)
_activated.def_impl(jax.jit(_activated.bind, static_argnames=('activation', 'window')))
_activated.def_abstract_eval(_infer)
batching.primitive_batchers[_activated] = _batch
ad.primitive_jvps[_activated] = _differentiate
register(_activated, _apart, _by_kernel)
