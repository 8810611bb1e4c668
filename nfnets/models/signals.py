"""Signal propagation plots: what a network does to the size of its signal, block by block.

Brock et al. 2021, arXiv 2101.08692, section 3.  `signal_propagation` measures the three curves;
`nfnets.models.signal_prediction` derives them for a network at initialization.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfnets.errors import InputError
from nfnets.models.taps import collect
from nfnets.models.zoo import Model, State

Forward = Callable[[Any, jax.Array], Any]
"""Somebody's own network: (params, images) -> anything."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Signals:
  """The three curves, [blocks] each: statistics over N, H and W, then the mean over channels."""

  squared_mean: np.ndarray
  """Average channel squared mean of the blocks' outputs."""
  variance: np.ndarray
  """Average channel variance of the blocks' outputs."""
  branch_variance: np.ndarray
  """Average channel variance at the end of the residual branches, before they are scaled and added
  to the shortcut."""

  @property
  def names(self) -> tuple[str, ...]:
    """Of the blocks, as `return_features` has them: 'block_0', ..."""
    return tuple(f'block_{index}' for index in range(len(self.variance)))


def signal_propagation(
  model: Model | Forward, params: Any, images: jax.Array, *, state: State | None = None
) -> Signals:
  """Measures the curves of a signal propagation plot.

  Batch normalization uses the statistics of `images`; dropout and stochastic depth are off.  The
  statistics are computed in float32 where they are tapped: no feature map is kept.

  Args:
    model: a network of the zoo; or any function (params, images) -> anything whose residual blocks
      call `nfnets.tap('branch', y)` at the end of the branch and `nfnets.tap('block', x)` on their
      output, both [..., channels].  It is compiled once for as long as it is the same object.
    params: of the network, at initialization or later.
    images: [N, H, W, C], normalized.  For the plots of the paper: standard normal numbers.
    state: of a network of the zoo; by default that of a fresh one.  The curves do not depend on it.

  Raises:
    InputError: the function taps nothing, not one branch for each block, or where it cannot be
      seen; or the images are none that the network takes.
  """
  if isinstance(model, Model):
    variant = dataclasses.replace(model.variant, drop_rate=0.0, stochdepth_rate=0.0)
    model = dataclasses.replace(model, variant=variant)
    if state is None:
      _, shapes = jax.eval_shape(model.init, jax.random.key(0))
      state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  elif not callable(model):
    raise InputError(f'model={model!r} is neither a Model nor a function of (params, images)')
  elif state is not None:
    raise InputError('state: a function of (params, images) takes none; bind it to the function')
  try:
    tapped = jax.device_get(_measure(model, params, state, images))
  except jax.errors.UnexpectedTracerError as error:
    raise InputError(
      'the function taps inside of lax.scan, jax.checkpoint, jax.vmap or the like, where values '
      'cannot be seen: leave those out while nfnets.models.taps.is_collecting()'
    ) from error
  blocks, branches = tapped.get('block', []), tapped.get('branch', [])
  if not blocks or len(blocks) != len(branches):
    raise InputError(
      f"the function called tap('block', x) {len(blocks)} times and tap('branch', y) "
      f'{len(branches)} times: every residual block calls each once'
    )
  return Signals(
    squared_mean=np.array([squared_mean for squared_mean, _ in blocks]),
    variance=np.array([variance for _, variance in blocks]),
    branch_variance=np.array([variance for _, variance in branches]),
  )


@functools.partial(jax.jit, static_argnums=0)
def _measure(
  model: Model | Forward, params: Any, state: State | None, images: jax.Array
) -> dict[str, list[tuple[jax.Array, jax.Array]]]:
  """Name -> (squared mean, variance) of everything tapped."""
  if isinstance(model, Model):
    forward = functools.partial(model.apply, params, state or {}, None, images, is_training=True)
  else:
    forward = functools.partial(model, params, images)
  _, tapped = collect(forward, _statistics)()
  return tapped


def _statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Average channel squared mean and average channel variance of `x` [..., channels]."""
  x = x.astype(jnp.float32)
  others = tuple(range(x.ndim - 1))
  return jnp.mean(jnp.square(jnp.mean(x, others))), jnp.mean(jnp.var(x, others))
