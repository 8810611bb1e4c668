"""The forms of a convolution and of its gradients that were measured fastest on CPUs.

XLA's own convolution is fast there in one case: forwards, or as a gradient of the image, in one
group of many channels.  So 1x1 convolutions are matrix products; wide groups are computed one by
one, narrow ones several at once with zeros between them; the gradient of a wide kernel is a matrix
product for each of its pixels; and 3x3 convolutions of wide groups, NFNet's, take Winograd's way.
docs/results/convolutions.md has the measurements.
"""

import dataclasses
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from nfnets.models import direct_convolution, winograd
from nfnets.models.windows import Window

_WIDE = 64
"""Channels of a group from which matrix products are clearly faster than XLA's convolutions."""
_TOGETHER, _TOGETHER_IN_GRADIENTS = 32, 16
"""Channels of narrow groups that are convolved together, and for the gradient of a kernel."""


def forward(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
  """See `direct_convolution.forward`."""
  if is_product(window):
    return _product(strided(x, window), kernel[0, 0])
  if _is_filtered(window, x, kernel):
    return winograd.forward(x, kernel, window=window)

  def of_groups(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    return direct_convolution.forward(x, _block_diagonal(kernel, window), window=_joint(window))

  return _in_parts(of_groups, x, kernel, window, _TOGETHER // kernel.shape[2])


def input_gradient(cotangent: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
  """See `direct_convolution.input_gradient`."""
  if is_product(window):
    return spread(_product(cotangent, kernel[0, 0].T), window)
  if _is_filtered(window, cotangent, kernel):
    return winograd.input_gradient(cotangent, kernel, window=window)

  def of_groups(y: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    joined = _block_diagonal(kernel, window)
    return direct_convolution.input_gradient(y, joined, window=_joint(window))

  return _in_parts(of_groups, cotangent, kernel, window, _TOGETHER // kernel.shape[2])


def kernel_gradient(x: jax.Array, cotangent: jax.Array, *, window: Window) -> jax.Array:
  """See `direct_convolution.kernel_gradient`."""
  if is_product(window):
    return _summed_product(strided(x, window), cotangent)[None, None]
  if _is_filtered(window, x, cotangent):
    return winograd.kernel_gradient(x, cotangent, window=window)
  if _is_static(window) and cotangent.shape[-1] // window.groups >= _WIDE:
    return _in_parts(_tap_by_tap, x, cotangent, window, 1)

  def of_groups(x: jax.Array, y: jax.Array, window: Window) -> jax.Array:
    joined = direct_convolution.kernel_gradient(x, y, window=_joint(window))
    return _diagonal_blocks(joined, window)

  together = _TOGETHER_IN_GRADIENTS * window.groups // x.shape[-1]
  return _in_parts(of_groups, x, cotangent, window, together)


def is_product(window: Window) -> bool:
  """Whether a convolution is a product of matrices: its kernel has one pixel."""
  return window.kernel == (1, 1) and window.groups == 1 and _is_static(window)


def _is_filtered(window: Window, *operands: jax.Array) -> bool:
  """Whether it is computed in Winograd's way: not in bfloat16, whose precision would suffer."""
  return (
    winograd.serves(window)
    and _is_static(window)
    and all(a.dtype == jnp.float32 for a in operands)
    and all(a.shape[-1] // window.groups >= _WIDE for a in operands)
  )


def _is_static(window: Window) -> bool:
  """Not so in programs that are exported for images of any size."""
  return all(isinstance(size, int) for size in window.image)


def _in_parts(
  function: Callable[[jax.Array, jax.Array, Window], jax.Array],
  a: jax.Array,
  b: jax.Array,
  window: Window,
  together: int,
) -> jax.Array:
  """The function of so many groups at once, 1 at least, and the results side by side."""
  step = min(max(together, 1), window.groups)
  parts = []
  for start in range(0, window.groups, step):
    end = min(start + step, window.groups)
    of_a, of_b = (_groups(array, start, end, window) for array in (a, b))
    parts.append(function(of_a, of_b, dataclasses.replace(window, groups=end - start)))
  return jnp.concatenate(parts, axis=-1)


def _groups(array: jax.Array, start: int, end: int, window: Window) -> jax.Array:
  each = array.shape[-1] // window.groups
  return array[..., start * each : end * each]


def _joint(window: Window) -> Window:
  """All groups as one."""
  return dataclasses.replace(window, groups=1)


def _block_diagonal(kernel: jax.Array, window: Window) -> jax.Array:
  """[h, w, in / G, out] -> [h, w, in, out] with zeros between the groups."""
  if window.groups == 1:
    return kernel
  blocks = jnp.split(kernel, window.groups, axis=-1)
  each = kernel.shape[2]
  rows = [
    jnp.pad(block, ((0, 0), (0, 0), (i * each, (window.groups - 1 - i) * each), (0, 0)))
    for i, block in enumerate(blocks)
  ]
  return jnp.concatenate(rows, axis=-1)


def _diagonal_blocks(kernel: jax.Array, window: Window) -> jax.Array:
  """What `_block_diagonal` undoes: without what stands between the groups."""
  if window.groups == 1:
    return kernel
  each = kernel.shape[2] // window.groups
  blocks = jnp.split(kernel, window.groups, axis=-1)
  return jnp.concatenate(
    [block[:, :, i * each : (i + 1) * each] for i, block in enumerate(blocks)], axis=-1
  )


def _product(x: jax.Array, matrix: jax.Array) -> jax.Array:
  """The channels of every pixel times a matrix; flat, for XLA computes others more slowly."""
  return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], matrix.shape[1])


def _summed_product(x: jax.Array, y: jax.Array) -> jax.Array:
  """[N, H, W, in] and [N, H, W, out] -> [in, out]: summed over all pixels."""
  flat_x, flat_y = (array.reshape(-1, array.shape[-1]) for array in (x, y))
  return lax.dot_general(flat_x, flat_y, (((0,), (0,)), ((), ())))


def strided(x: jax.Array, window: Window) -> jax.Array:
  """The pixels that a strided 1x1 convolution reads."""
  return x if window.stride == 1 else x[:, :: window.stride, :: window.stride]


def spread(y: jax.Array, window: Window) -> jax.Array:
  """What `strided` undoes, with zeros between."""
  if window.stride == 1:
    return y
  between = window.stride - 1
  missing = [
    (0, size - (steps - 1) * window.stride - 1, between)
    for size, steps in zip(window.image, window.output, strict=True)
  ]
  return lax.pad(y, jnp.zeros((), y.dtype), ((0, 0, 0), *missing, (0, 0, 0)))


def _tap_by_tap(x: jax.Array, cotangent: jax.Array, window: Window) -> jax.Array:
  """The gradient of the kernel of one group, each of its pixels a product of its own."""
  (height, width), step = window.kernel, window.stride
  padded = jnp.pad(x, ((0, 0), *window.padding, (0, 0)))
  reach = [step * (size - 1) + 1 for size in window.output]
  taps = [
    _summed_product(padded[:, i : i + reach[0] : step, j : j + reach[1] : step], cotangent)
    for i, j in itertools.product(range(height), range(width))
  ]
  return jnp.stack(taps).reshape(height, width, *taps[0].shape)
