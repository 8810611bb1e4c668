"""The update of a step in the kernels of `nfnets.native`: all arrays at once.

A primitive, so that it is given its form when it is lowered: that of optax, or on CPUs that of the
kernels, while these are in use.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import batching

from nfnets.native.lowering import register
from nfnets.optim import native_update
from nfnets.optim.agc import AdaptiveGradClipState, UnitSquares
from nfnets.optim.clipping import ALL
from nfnets.optim.ema import ema_decay
from nfnets.optim.layout import Layout, lay_out
from nfnets.optim.native_update import Rule
from nfnets.training.config import Config
from nfnets.training.derived import Derived
from nfnets.training.update import After, Before, Update, is_finite, keep_unless, name_clipped


def make_rule(config: Config, derived: Derived) -> Rule | None:
  """What the kernels must know of a run's optimizer; None for one that they do not serve."""
  optimizer = config.optimizer
  if derived.frozen or (optimizer.clipping is not None and optimizer.clip_norm != 'unit'):
    return None
  return Rule(
    momentum=optimizer.momentum,
    nesterov=optimizer.nesterov,
    weight_decay=derived.weight_decay,
    clipping=optimizer.clipping,
    clip_eps=optimizer.clip_eps,
    layer_decay=config.finetune.layer_decay,
  )


def with_kernels(
  plain: Update,
  rule: Rule,
  schedule: optax.Schedule,
  *,
  max_ema_decay: float,
  depths: Sequence[int],
) -> Update:
  """`plain`, which kernels take where there are some.

  Args:
    plain: the update as optax has it.
    rule: the same optimizer, as the kernels know it.
    schedule: the learning rate within it.
    max_ema_decay: of the average; see `ema_decay`.
    depths: how many blocks each stage of the network has.
  """

  def kernels(old: Before) -> After:
    return _take(old, rule, schedule, max_ema_decay, depths)

  def update(old: Before) -> After:
    if not native_update.serves(jax.tree.leaves((old.params, old.ema_params, old.gradients))):
      return plain(old)
    leaves, structure = jax.tree.flatten(old)
    shapes, results = jax.tree.flatten(_shapes(old, rule, depths))
    new = _update.bind(
      *leaves,
      plain=_flat(plain, structure),
      kernels=_flat(kernels, structure),
      shapes=tuple(ShapedArray(x.shape, x.dtype) for x in shapes),
    )
    return jax.tree.unflatten(results, new)

  return update


def _flat(function: Update, structure: Any) -> Callable[..., list[jax.Array]]:
  return lambda *leaves: jax.tree.leaves(function(jax.tree.unflatten(structure, leaves)))


def _infer(*leaves: Any, shapes: Sequence[Any], **forms: Any) -> Sequence[Any]:
  del leaves, forms
  return shapes


def _batch(leaves: Any, axes: Any, *, plain: Any, **others: Any) -> tuple[Any, Any]:
  del others
  new = jax.vmap(plain, axes)(*leaves)
  return new, [0] * len(new)


_update = Primitive('update')
_update.multiple_results = True
_update.def_impl(jax.jit(_update.bind, static_argnames=('plain', 'kernels', 'shapes')))
_update.def_abstract_eval(_infer)
batching.primitive_batchers[_update] = _batch
register(
  _update,
  default=lambda *leaves, plain, **_: plain(*leaves),
  kernels=lambda *leaves, kernels, **_: kernels(*leaves),
)


def _shapes(old: Before, rule: Rule, depths: Sequence[int]) -> Any:
  """An `After` of what can be told of every array: its shape and dtype."""
  names = ['learning_rate', 'gradient_norm', 'parameter_norm']
  parts = lay_out(old.params, rule, depths).parts
  if rule.clipping is not None:
    names += name_clipped(dict.fromkeys([ALL, *(part.name for part in parts)]))
  figures: Any = dict.fromkeys(names, jax.ShapeDtypeStruct((), jnp.float32))
  taken: Any = jax.ShapeDtypeStruct((), jnp.bool_)
  return After(old.params, old.opt_state, old.ema_params, taken, figures)


def _take(
  old: Before, rule: Rule, schedule: optax.Schedule, max_ema_decay: float, depths: Sequence[int]
) -> After:
  """The update by kernels."""
  layout = lay_out(old.params, rule, depths)
  gradients, params = layout.sort(old.gradients), layout.sort(old.params)
  of_gradients, all_gradients = native_update.sum_squares(gradients)
  of_params, all_params = native_update.sum_squares(params)
  figures = {
    'learning_rate': jnp.asarray(schedule(old.step), jnp.float32),
    'gradient_norm': jnp.sqrt(all_gradients),
    'parameter_norm': jnp.sqrt(all_params),
  }
  taken = is_finite(loss=old.loss, **figures)
  before = _find(old.opt_state, optax.TraceState).trace
  count = _find(old.opt_state, optax.ScaleByScheduleState).count
  new = native_update.update(
    rule,
    layout.traits,
    wanted=taken,
    learning_rate=jnp.asarray(schedule(count), jnp.float32),
    ema_step=1 - ema_decay(old.step, max_ema_decay),
    gradients=gradients,
    params=params,
    momentum=layout.sort(before),
    ema=layout.sort(old.ema_params),
    gradient_squares=of_gradients,
    param_squares=of_params,
  )
  params, momentum, ema = (layout.restore(leaves, old.params) for leaves in new)
  fractions = _clipped_fractions(layout, UnitSquares(of_gradients, of_params), rule)
  opt_state = _advance(old.opt_state, taken, momentum, fractions.get(ALL))
  if fractions:
    figures |= name_clipped(fractions)
  return After(params, opt_state, ema, taken, figures)


def _clipped_fractions(layout: Layout, squares: UnitSquares, rule: Rule) -> dict[str, jax.Array]:
  """As `clipped_fractions`, which would cut the units apart and put them side by side again."""
  if rule.clipping is None:
    return {}
  factors = squares.factors(rule.clipping, rule.clip_eps)
  counts = {part.name: jnp.sum(factors[part.clipped] < 1) for part in layout.parts}
  sizes = {part.name: part.clipped.stop - part.clipped.start for part in layout.parts}
  counts[ALL] = jnp.asarray(sum(counts.values()))
  sizes[ALL] = sum(sizes.values())
  return {part: (counts[part] / sizes[part]).astype(jnp.float32) for part in counts}


def _advance(opt_state: Any, taken: jax.Array, momentum: Any, clipped: jax.Array | None) -> Any:
  """The state of `sgd_agc` behind a step that gave this momentum and clipped this share."""

  def advance(node: Any) -> Any:
    if isinstance(node, optax.TraceState):
      return optax.TraceState(momentum)
    if isinstance(node, optax.ScaleByScheduleState):
      new = optax.ScaleByScheduleState(optax.safe_increment(node.count))
    elif isinstance(node, AdaptiveGradClipState) and clipped is not None:
      new = AdaptiveGradClipState(clipped)
    else:
      return node
    return keep_unless(taken, new, node)

  return jax.tree.map(advance, opt_state, is_leaf=_is_state)


def _find(opt_state: Any, kind: type[Any]) -> Any:
  (found,) = (x for x in jax.tree.leaves(opt_state, is_leaf=_is_state) if isinstance(x, kind))
  return found


def _is_state(node: Any) -> bool:
  return isinstance(node, optax.TraceState | optax.ScaleByScheduleState | AdaptiveGradClipState)
