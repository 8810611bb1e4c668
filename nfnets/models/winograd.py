"""3x3 convolutions of stride 1 with 2.25 times fewer multiplications, and their gradients.

Minimal filtering F(2x2, 3x3) (Lavin and Gray 2015, arXiv 1509.09308): from every 4x4 tile of the
image, and from the kernel, sums and differences are made; their products, 16 for 4 output pixels
instead of 36, are matrix products over the channels.  In float32 the result differs from that of
the plain sum by about 1e-6 of its largest number.  Larger tiles save more and lose an order of
magnitude of precision, so there are none here.

Everything works on the groups of channels as the first axis: [G, N, H, W, C].
"""

import functools
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nfnets.models.windows import Window

_STEP = 2  # output pixels along each side of a tile
_TILE = 4

# Rows: the numbers of a tile as sums of those of the image, of the kernel; the output of the tile.
_OF_IMAGE = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
_OF_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_OF_OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)


def serves(window: Window) -> bool:
  """Whether a convolution is of the kind that is computed here."""
  return window.kernel == (3, 3) and window.stride == 1


def forward(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
  """`x` [N, H, W, C] and `kernel` [3, 3, C / groups, out] -> [N, H, W, out]."""
  tiles = _transform(_OF_IMAGE, _overlapping(_groups_first(x, window)))
  of_kernel = _transform(_OF_KERNEL, _taps(kernel, window))
  outputs = _transform(_OF_OUTPUT, _each(_product, tiles, of_kernel))
  return _groups_last(_joined(outputs, window))


def input_gradient(cotangent: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
  """The transpose of `forward` in `x`: the convolution with the kernel turned round."""
  taps = jnp.swapaxes(_taps(kernel, window), 3, 4)
  return forward(cotangent, _from_taps(taps[::-1, ::-1]), window=window)


def kernel_gradient(x: jax.Array, cotangent: jax.Array, *, window: Window) -> jax.Array:
  """The transpose of `forward` in the kernel: -> [3, 3, C / groups, out]."""
  tiles = _transform(_OF_IMAGE, _overlapping(_groups_first(x, window)))
  of_cotangent = _transform(_OF_OUTPUT.T, _apart(_groups_first(cotangent, window)))
  taps = _transform(_OF_KERNEL.T, _each(_summed_product, tiles, of_cotangent))
  return _from_taps(jnp.stack([jnp.stack(row) for row in taps]))


_Grid = Sequence[Sequence[jax.Array]] | jax.Array  # rows of columns: what stands where in a tile


def _transform(matrix: np.ndarray, grid: _Grid) -> list[list[jax.Array]]:
  """`matrix @ grid @ matrix.T`: first the rows are combined, then the columns."""
  columns = [_combine(matrix, column) for column in zip(*grid, strict=True)]
  return [_combine(matrix, row) for row in zip(*columns, strict=True)]


def _combine(matrix: np.ndarray, arrays: Sequence[jax.Array]) -> list[jax.Array]:
  """Sums of the arrays, one for each row; written out, so that they become one loop."""
  return [
    functools.reduce(
      operator.add,
      [a if w == 1 else -a if w == -1 else w * a for w, a in zip(row, arrays, strict=True) if w],
    )
    for row in matrix
  ]


def _overlapping(x: jax.Array) -> list[list[jax.Array]]:
  """Of every 4x4 tile, two pixels from the next, the pixel that stands at each of its places."""
  height, width = (-(-size // _STEP) * _STEP for size in x.shape[2:4])
  below, right = 1 + height - x.shape[2], 1 + width - x.shape[3]
  padded = jnp.pad(x, ((0, 0), (0, 0), (1, below), (1, right), (0, 0)))
  rows = [_every_other(padded, i, height, axis=2) for i in range(_TILE)]
  return [[_every_other(row, j, width, axis=3) for j in range(_TILE)] for row in rows]


def _every_other(x: jax.Array, start: int, size: int, *, axis: int) -> jax.Array:
  return lax.slice_in_dim(x, start, start + size - 1, _STEP, axis)


def _apart(y: jax.Array) -> list[list[jax.Array]]:
  """Of every 2x2 tile the pixel that stands at each of its places."""
  height, width = (-(-size // _STEP) * _STEP for size in y.shape[2:4])
  padded = jnp.pad(y, ((0, 0), (0, 0), (0, height - y.shape[2]), (0, width - y.shape[3]), (0, 0)))
  rows = [_every_other(padded, i, height, axis=2) for i in range(_STEP)]
  return [[_every_other(row, j, width, axis=3) for j in range(_STEP)] for row in rows]


def _joined(grid: _Grid, window: Window) -> jax.Array:
  """What `_apart` undoes, without what was added at the edges."""
  rows = jnp.stack([jnp.stack(row, axis=4) for row in grid], axis=3)
  groups, images, height, _, width, _, channels = rows.shape
  joined = rows.reshape(groups, images, height * _STEP, width * _STEP, channels)
  return joined[:, :, : window.image[0], : window.image[1]]


def _each(
  function: Callable[[jax.Array, jax.Array], jax.Array], first: _Grid, second: _Grid
) -> list[list[jax.Array]]:
  """The function of what stands at each place of both grids.

  Not one product of all places: XLA runs separate ones at the same time, one on each core.
  """
  return [
    [function(*pair) for pair in zip(*rows, strict=True)]
    for rows in zip(first, second, strict=True)
  ]


def _product(x: jax.Array, matrices: jax.Array) -> jax.Array:
  """[G, ..., C] by [G, C, D]: -> [G, ..., D]."""
  products = lax.dot_general(_flat(x), matrices, (((2,), (1,)), ((0,), (0,))))
  return products.reshape(*x.shape[:-1], -1)


def _summed_product(x: jax.Array, y: jax.Array) -> jax.Array:
  """[G, ..., C] and [G, ..., D], summed over the places between: -> [G, C, D]."""
  return lax.dot_general(_flat(x), _flat(y), (((1,), (1,)), ((0,), (0,))))


def _flat(x: jax.Array) -> jax.Array:
  """[G, ..., C] -> [G, places, C]."""
  return x.reshape(x.shape[0], -1, x.shape[-1])


def _groups_first(x: jax.Array, window: Window) -> jax.Array:
  """[N, H, W, C] -> [G, N, H, W, C / G]."""
  return jnp.moveaxis(x.reshape(*x.shape[:3], window.groups, -1), 3, 0)


def _groups_last(y: jax.Array) -> jax.Array:
  """What `_groups_first` undoes."""
  y = jnp.moveaxis(y, 0, 3)
  return y.reshape(*y.shape[:3], -1)


def _taps(kernel: jax.Array, window: Window) -> jax.Array:
  """[3, 3, C / G, out] -> [3, 3, G, C / G, out / G]."""
  return jnp.moveaxis(kernel.reshape(*kernel.shape[:3], window.groups, -1), 3, 2)


def _from_taps(taps: jax.Array) -> jax.Array:
  """What `_taps` undoes."""
  kernel = jnp.moveaxis(taps, 2, 3)
  return kernel.reshape(*kernel.shape[:3], -1)
