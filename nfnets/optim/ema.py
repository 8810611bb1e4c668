"""The moving average of the parameters that is evaluated instead of the last ones.

Source: arXiv 2102.06171, appendix A.1, with the warm-up of the decay that the released code uses.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from nfnets.arguments import check_number

MAX_DECAY = 0.99999


def ema_decay(step: jax.typing.ArrayLike, max_decay: float = MAX_DECAY) -> jax.Array:
  """How much of the average survives update number `step`: min(max_decay, (1 + t) / (10 + t)).

  The warm-up lets the average forget the initial parameters.  It is long: 0.99999 is reached after
  900,000 updates, eight times as many as a run of 360 epochs of ImageNet has.

  Args:
    step: number of updates before this one, 0 in the first.
    max_decay: the decay once warmed up, in [0, 1).

  Returns:
    A float32 scalar.

  Raises:
    InputError: if `max_decay` is out of its range.
  """
  check_number('max_decay', max_decay, at_least=0, below=1)
  t = jnp.asarray(step, jnp.float32)
  return jnp.minimum(jnp.float32(max_decay), (1 + t) / (10 + t))


def update_ema(ema: Any, new: Any, step: jax.typing.ArrayLike, max_decay: float = MAX_DECAY) -> Any:
  """One update of the average: decay * ema + (1 - decay) * new, leaf by leaf.

  It is computed in float32 and keeps the dtypes of `ema`, which should be float32 as well: steps of
  1e-5 are lost in a bfloat16 number.  Leaves that are not floating point (counters) become `new`.

  Args:
    ema: the average so far; in the beginning, the initial parameters.
    new: the parameters (or network state) after this step, in the same structure.
    step: number of updates before this one, 0 in the first.
    max_decay: as for `ema_decay`.

  Raises:
    InputError: if `max_decay` is out of its range.
  """
  step_size = 1 - ema_decay(step, max_decay)

  def update_leaf(old: jax.Array, current: jax.Array) -> jax.Array:
    if not jnp.issubdtype(old.dtype, jnp.floating):
      return current
    dtype = jnp.promote_types(old.dtype, jnp.float32)
    average = optax.incremental_update(current.astype(dtype), old.astype(dtype), step_size)
    return jnp.asarray(average, old.dtype)

  return jax.tree.map(update_leaf, ema, new)
