"""The forms of a convolution and its gradients that `nfnets.native` has kernels for.

Called for a convolution that `serves` tells: in float32, each takes a half to a fifth of the time
of the forms in `cpu_convolution` (docs/results/convolutions.md).  3x3 convolutions of wide groups
are computed in Winograd's way, others as sums over the pixels of the kernel.
"""

import jax
import jax.numpy as jnp
import numpy as np

from nfnets.models import winograd
from nfnets.models.windows import Window

_LANES = 8
"""Divides the channels that a kernel makes, of every group."""
_MOST = 65536
"""Channels of an image, at most."""


def serves(window: Window, first: jax.Array, second: jax.Array, made: int) -> bool:
  """Whether there is a kernel for a convolution.

  Args:
    window: its geometry.
    first: one operand.
    second: the other.
    made: how many channels the result has.
  """
  sizes = (*first.shape, *second.shape, *window.image)
  return (
    window.kernel != (1, 1)
    and all(isinstance(size, int) for size in sizes)
    and first.dtype == second.dtype == jnp.float32
    and made % window.groups == 0
    and made // window.groups % _LANES == 0
    and max(sizes) <= _MOST
  )


def forward(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
  """See `direct_convolution.forward`; eight divides the channels of each group of the result."""
  shape = (x.shape[0], *window.output, kernel.shape[3])
  return _call('nfnets_convolution', shape, x, kernel, window)


def input_gradient(cotangent: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
  """See `direct_convolution.input_gradient`; eight divides the channels of each group of it."""
  shape = (cotangent.shape[0], *window.image, kernel.shape[2] * window.groups)
  return _call('nfnets_convolution_input_gradient', shape, cotangent, kernel, window)


def kernel_gradient(x: jax.Array, cotangent: jax.Array, *, window: Window) -> jax.Array:
  """See `direct_convolution.kernel_gradient`; eight divides the channels of each group."""
  shape = (*window.kernel, x.shape[3] // window.groups, cotangent.shape[3])
  return _call('nfnets_convolution_kernel_gradient', shape, x, cotangent, window)


def _call(
  target: str, shape: tuple[int, ...], first: jax.Array, second: jax.Array, window: Window
) -> jax.Array:
  (above, _), (left, _) = window.padding
  call = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(shape, first.dtype))
  return call(
    first,
    second,
    stride=np.int64(window.stride),
    groups=np.int64(window.groups),
    above=np.int64(above),
    left=np.int64(left),
    filtered=winograd.serves(window),
  )
