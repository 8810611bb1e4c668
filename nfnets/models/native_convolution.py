"""The forms of a convolution and its gradients that `nfnets.native` has kernels for.

Called for a convolution that `serves` tells: in float32, each takes a half to a fifth of the time
of the forms in `cpu_convolution` (docs/results/convolutions.md).  3x3 convolutions of wide groups
are computed in Winograd's way, others as sums over the pixels of the kernel, and 1x1 convolutions
as products of matrices.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfnets.models import activations, cpu_convolution, winograd
from nfnets.models.windows import Window

_FEWEST = 8
"""Channels that a kernel makes, of every group."""
_MOST = 65536
"""Of channels, images and pixels along a side, at most."""

ACTIVATIONS = {
  activations.ACTIVATIONS[name].function: np.int64(number)
  for name, number in (('relu', 1), ('silu', 2), ('gelu', 3))
}
"""Nonlinearities that a kernel applies to what it made, and what it calls them by."""


def serves(window: Window, first: jax.Array, second: jax.Array, made: int) -> bool:
  """Whether there is a kernel for a convolution.

  Args:
    window: its geometry.
    first: one operand.
    second: the other.
    made: how many channels the result has.
  """
  sizes = (*first.shape, *second.shape, *window.image)
  if not all(isinstance(size, int) and 0 < size <= _MOST for size in sizes):
    return False
  if not first.dtype == second.dtype == jnp.float32:
    return False
  return cpu_convolution.is_product(window) or made // window.groups >= _FEWEST


def forward(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
  """See `direct_convolution.forward`; of those that `serves` tells."""
  if cpu_convolution.is_product(window):
    pixels = cpu_convolution.strided(x, window)
    return _product(_flat(pixels), kernel[0, 0]).reshape(*pixels.shape[:-1], kernel.shape[3])
  shape = (x.shape[0], *window.output, kernel.shape[3])
  return _convolve('nfnets_convolution', shape, window, x, kernel)


def activated(
  x: jax.Array, kernel: jax.Array, bias: jax.Array, *, activation: Any, window: Window
) -> jax.Array:
  """`activation(forward(...) + bias)`, with one of `ACTIVATIONS`; of those that `serves` tells."""
  number = ACTIVATIONS[activation]
  if cpu_convolution.is_product(window):
    pixels = cpu_convolution.strided(x, window)
    shape = jax.ShapeDtypeStruct((pixels.size // pixels.shape[-1], bias.size), x.dtype)
    call = jax.ffi.ffi_call('nfnets_activated_product', shape)
    made = call(_flat(pixels), kernel[0, 0], bias, activation=number)
    return made.reshape(*pixels.shape[:-1], bias.size)
  shape = (x.shape[0], *window.output, kernel.shape[3])
  target = 'nfnets_activated_convolution'
  return _convolve(target, shape, window, x, kernel, bias, activation=number)


def input_gradient(cotangent: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
  """See `direct_convolution.input_gradient`; of those that `serves` tells."""
  if cpu_convolution.is_product(window):
    flat = _product(_flat(cotangent), kernel[0, 0], transposed=True)
    return cpu_convolution.spread(flat.reshape(*cotangent.shape[:-1], kernel.shape[2]), window)
  shape = (cotangent.shape[0], *window.image, kernel.shape[2] * window.groups)
  return _convolve('nfnets_convolution_input_gradient', shape, window, cotangent, kernel)


def kernel_gradient(x: jax.Array, cotangent: jax.Array, *, window: Window) -> jax.Array:
  """See `direct_convolution.kernel_gradient`; of those that `serves` tells."""
  if cpu_convolution.is_product(window):
    pixels = cpu_convolution.strided(x, window)
    return _summed_product(_flat(pixels), _flat(cotangent))[None, None]
  shape = (*window.kernel, x.shape[3] // window.groups, cotangent.shape[3])
  return _convolve('nfnets_convolution_kernel_gradient', shape, window, x, cotangent)


def _convolve(
  target: str, shape: tuple[int, ...], window: Window, *operands: jax.Array, **attributes: np.int64
) -> jax.Array:
  (above, _), (left, _) = window.padding
  call = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(shape, operands[0].dtype))
  return call(
    *operands,
    **attributes,
    stride=np.int64(window.stride),
    groups=np.int64(window.groups),
    above=np.int64(above),
    left=np.int64(left),
    filtered=winograd.serves(window),
  )


def _product(x: jax.Array, matrix: jax.Array, *, transposed: bool = False) -> jax.Array:
  """[pixels, in] by [in, out], or by the transpose of [out, in]."""
  shape = (x.shape[0], matrix.shape[0 if transposed else 1])
  call = jax.ffi.ffi_call('nfnets_product', jax.ShapeDtypeStruct(shape, x.dtype))
  return call(x, matrix, transposed=transposed)


def _summed_product(x: jax.Array, y: jax.Array) -> jax.Array:
  """[pixels, in] and [pixels, out] -> [in, out]: summed over all pixels."""
  shape = (x.shape[1], y.shape[1])
  return jax.ffi.ffi_call('nfnets_summed_product', jax.ShapeDtypeStruct(shape, x.dtype))(x, y)


def _flat(x: jax.Array) -> jax.Array:
  """[N, H, W, C] -> [pixels, C]."""
  return x.reshape(-1, x.shape[-1])
