"""Adaptive gradient clipping: a gradient may be large only where its weight is large.

Source: Brock et al., "High-Performance Large-Scale Image Recognition Without Normalization",
arXiv 2102.06171, section 4.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax

from nfnets.arguments import check_number
from nfnets.errors import InputError
from nfnets.optim.norms import squares, tree_squares, unit_axes
from nfnets.optim.totals import side_by_side, total

Norm = Literal['unit', 'layer', 'global']
OutputAxes = Sequence[int] | Callable[[tuple[str, ...], jax.Array], Sequence[int]]


class AdaptiveGradClipState(NamedTuple):
  """What AGC remembers: nothing but a figure for the log."""

  clipped: jax.Array  # float32 scalar: fraction of the units that the last update clipped


class UnitCount(NamedTuple):
  """The units of one parameter: how many are clipped, of how many."""

  clipped: jax.Array
  total: int


class UnitSquares(NamedTuple):
  """The sums of squares of units, by which AGC decides: those of an array, or of many."""

  gradient: jax.Array
  weight: jax.Array

  def factors(self, clipping: jax.typing.ArrayLike, eps: jax.typing.ArrayLike) -> jax.Array:
    """What each unit's gradient is multiplied by: 1, or less where it is clipped."""
    limit = jnp.multiply(clipping, jnp.maximum(jnp.sqrt(self.weight), eps))
    norm = jnp.sqrt(self.gradient)
    # The selection is not redundant: accelerators do not promise that x / x is 1.  The maximum
    # keeps a zero gradient from dividing by zero.
    return jnp.where(norm > limit, limit / jnp.maximum(norm, limit), 1)


def adaptive_grad_clip(
  clipping: jax.typing.ArrayLike,
  eps: jax.typing.ArrayLike = 1e-3,
  *,
  norm: Norm = 'unit',
  output_axes: OutputAxes = (-1,),
) -> optax.GradientTransformation:
  """Clips each unit's gradient G to `clipping` times the norm of its weight W.

  Where ||G|| > clipping * max(||W||, eps), G is scaled down to that norm; every other unit passes
  bit for bit.  Norms are taken in float32 (float64 for float64 arrays) and the result keeps the
  gradient's dtype.  The fraction of units clipped is in the state: see `read_clipped_fraction`.

  What a unit is depends on `norm`:

  * 'unit' (the paper's AGC): one output unit of a kernel of any rank, [..., in, out] or [in, out];
    the norms run over all axes but the last.  Scalars, vectors and kernels with at most one axis
    longer than 1 are one unit as a whole.
  * 'layer': one parameter array.
  * 'global': all parameters the transform sees.  One norm over the whole tree of gradients is held
    against one over the whole tree of weights, and all gradients are scaled by the same factor.
    Under `optax.masked` the tree is what the mask lets through.

  Args:
    clipping: largest allowed ratio of the norms, a number or scalar array > 0.  The paper uses 0.01
      at batch 1024 to 4096, and larger values for smaller batches (figure 2b).
    eps: the least weight norm counted, so that weights that start at zero can move; > 0.
    norm: 'unit', 'layer' or 'global'.
    output_axes: for 'unit', the axes that index output units in kernels with more than one axis
      longer than 1.  Either one tuple for all, or a function (path, leaf) -> tuple, where path
      holds the leaf's keys as text, (module, name) in Haiku.  A multi-head kernel [in, heads, dim]
      has (-2, -1).

  Raises:
    InputError: at once, for an argument that is none of the above; in `update`, if `params` is not
      given or a kernel does not have the output axes.
  """
  check_arguments(clipping, eps, norm, output_axes)

  def init(params: optax.Params) -> AdaptiveGradClipState:
    del params
    return AdaptiveGradClipState(clipped=jnp.zeros((), jnp.float32))

  def update(
    updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
  ) -> tuple[optax.Updates, optax.OptState]:
    del state
    if params is None:
      raise InputError(
        'params=None: adaptive_grad_clip compares gradients with parameters; '
        'call update(updates, state, params)'
      )
    gradients, structure = jax.tree.flatten(updates)
    units = unit_squares(updates, params, norm, output_axes)
    factors = [unit.factors(clipping, eps) for unit in units]
    clipped = jax.tree.unflatten(structure, map(_clip, gradients, factors))
    return clipped, AdaptiveGradClipState(clipped=clipped_fraction(units, clipping, eps))

  return optax.GradientTransformation(init, update)


def clipped_units(
  updates: optax.Updates,
  params: optax.Params,
  clipping: jax.typing.ArrayLike,
  *,
  eps: jax.typing.ArrayLike = 1e-3,
  norm: Norm = 'unit',
  output_axes: OutputAxes = (-1,),
) -> Any:
  """Counts what `adaptive_grad_clip` with the same arguments would clip, parameter by parameter.

  Beside the transform in one `jit`, the norms are computed only once.

  Args:
    updates: the gradients before clipping.
    params: the parameters, in the same structure.
    clipping: as for `adaptive_grad_clip`, like the arguments that follow.
    eps: the least weight norm counted.
    norm: 'unit', 'layer' or 'global'; with 'global' each parameter counts as one unit.
    output_axes: the axes that index output units.

  Returns:
    The structure of `updates` with a `UnitCount` for every leaf.

  Raises:
    InputError: as `adaptive_grad_clip`.
  """
  check_arguments(clipping, eps, norm, output_axes)
  units = unit_squares(updates, params, norm, output_axes)
  counts = [_count(unit.factors(clipping, eps)) for unit in units]
  return jax.tree.unflatten(jax.tree.structure(updates), counts)


def read_clipped_fraction(opt_state: Any) -> jax.Array | None:
  """The fraction of units that AGC clipped in the last update, or None if AGC is not in use.

  Args:
    opt_state: the state of any optax transform, however deep AGC lies in it.

  Raises:
    InputError: if there is more than one AGC inside, so that no single figure is the answer.
  """

  def is_agc(node: Any) -> bool:
    return isinstance(node, AdaptiveGradClipState)

  found = [node for node in jax.tree.leaves(opt_state, is_leaf=is_agc) if is_agc(node)]
  if len(found) > 1:
    raise InputError(
      f'opt_state holds {len(found)} AdaptiveGradClipStates: must hold at most one; '
      'read the field `clipped` of each instead'
    )
  return found[0].clipped if found else None


def unit_squares(
  updates: optax.Updates, params: optax.Params, norm: Norm, output_axes: OutputAxes = (-1,)
) -> list[UnitSquares]:
  """The units of every leaf of `updates`, in its rank; with norm='global', the same one of all."""
  gradients, structure = jax.tree.flatten(updates)
  weights = structure.flatten_up_to(params)
  if norm == 'global':
    return [UnitSquares(tree_squares(gradients), tree_squares(weights))] * len(gradients)
  axes = [None] * len(weights) if norm == 'layer' else _norm_axes(params, output_axes)
  sums = [map(squares, leaves, axes) for leaves in (gradients, weights)]
  return list(map(UnitSquares, *sums))


def clipped_fraction(
  units: Sequence[UnitSquares], clipping: jax.typing.ArrayLike, eps: jax.typing.ArrayLike
) -> jax.Array:
  """The fraction of the units of many arrays that is clipped: a float32 scalar, 0 for no units."""
  together = UnitSquares(
    gradient=side_by_side([unit.gradient for unit in units]),
    weight=side_by_side([unit.weight for unit in units]),
  )
  count = _count(together.factors(clipping, eps))
  return (count.clipped / max(count.total, 1)).astype(jnp.float32)


def _clip(gradient: jax.Array, factor: jax.Array) -> jax.Array:
  # A product with 1 would flush subnormal numbers.
  return jnp.where(factor < 1, (gradient * factor).astype(gradient.dtype), gradient)


def _count(factors: jax.Array) -> UnitCount:
  return UnitCount(clipped=total(jnp.ravel(factors < 1)), total=factors.size)


def _norm_axes(params: optax.Params, output_axes: OutputAxes) -> list[tuple[int, ...] | None]:
  """Of each leaf, the axes that the norm of one output unit runs over; None for all."""
  leaves, _ = jax.tree.flatten_with_path(params)
  return [_norm_axes_of(path, leaf, output_axes) for path, leaf in leaves]


def _norm_axes_of(path: Any, leaf: jax.Array, output_axes: OutputAxes) -> tuple[int, ...] | None:
  if unit_axes(leaf) is None:
    return None
  keys = tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
  outputs = tuple(output_axes(keys, leaf) if callable(output_axes) else output_axes)
  if any(not -leaf.ndim <= axis < leaf.ndim for axis in outputs):
    raise InputError(
      f'output_axes={outputs}: must be axes of {keys}, whose shape is {list(leaf.shape)}'
    )
  axes = tuple(sorted(set(range(leaf.ndim)) - {axis % leaf.ndim for axis in outputs}))
  if not axes:
    raise InputError(
      f'output_axes={outputs}: must leave an axis for the norm of {keys}, '
      f'whose shape is {list(leaf.shape)}; name the axes leaf by leaf with a function'
    )
  return axes


def check_arguments(clipping: Any, eps: Any, norm: str, output_axes: Any = (-1,)) -> None:
  """Those of `adaptive_grad_clip`.

  Raises:
    InputError: one is out of its range.
  """
  check_number('clipping', clipping, above=0)
  check_number('eps', eps, above=0)
  if norm not in get_args(Norm):
    raise InputError(f'norm={norm!r}: must be one of {", ".join(get_args(Norm))}')
  is_axes = isinstance(output_axes, Sequence) and all(isinstance(a, int) for a in output_axes)
  if not (is_axes or callable(output_axes)):
    raise InputError(
      f'output_axes={output_axes!r}: must be a tuple of axes such as (-1,), or a function'
    )
