"""Population statistics of a trained network: PreciseBN, and moving averages taken afterwards.

Wu and Johnson 2021, section 3.  A pass is `(params, state, batch) -> (anything, new state)`: the
network in training, so that batch statistics are active in all layers, such as
`lambda params, state, images: model.apply(params, state, None, images, is_training=True)`.
"""

import enum
import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nfnets.batchnorm.averages import (
  Averages,
  State,
  read_averages,
  reset_averages,
  write_averages,
)
from nfnets.batchnorm.moments import Moments
from nfnets.batchnorm.transforms import with_decay
from nfnets.errors import InputError

Pass = Callable[[Any, Any, Any], tuple[Any, State]]


class Form(enum.Enum):
  """How the variance of the population follows from batches of B examples, N in all."""

  PRECISE = 'N / (N - 1) * (mean of (mean^2 + var) - mean^2)'
  """Right for any B (Wu and Johnson)."""
  BIASED = 'mean of (mean^2 + var) - mean^2'
  """The same without the correction: the variance of the N examples themselves."""
  INCEPTION = 'mean of B / (B - 1) * var'
  """Ioffe and Szegedy 2015 (arXiv 1502.03167), algorithm 2.  By how much the means of batches
  differ is not measured but guessed, as if the B values of a channel were independent."""


class Sums(NamedTuple):
  """Over batches, each weighted by its examples.  Sums of several devices or passes add up."""

  examples: jax.Array
  means: dict[str, jax.Array]
  """By the paths of modules; so are the others."""
  squares: dict[str, jax.Array]
  """Of mean^2 + var."""
  variances: dict[str, jax.Array]
  """Of B / (B - 1) * var; NaN from a batch of one example."""


def sum_statistics(forward: Pass, params: Any, state: State, batch: Any) -> Sums:
  """What one batch adds; B is the length of its first leaf.

  Pure: it can be compiled, and mapped over batches or devices; `jax.lax.psum` of it over a named
  axis makes all devices arrive at the same statistics, whatever each has seen.
  """
  _, after = with_decay(forward, 0.0)(params, state, batch)
  examples = len(jax.tree.leaves(batch)[0])
  corrected = examples * examples / (examples - 1) if examples > 1 else np.nan
  moments = {
    path: Moments(*(value.astype(jnp.float32) for value in pair))
    for path, pair in read_averages(after).items()
  }
  return Sums(
    jnp.float32(examples),
    {path: examples * mean for path, (mean, _) in moments.items()},
    {path: examples * (jnp.square(mean) + var) for path, (mean, var) in moments.items()},
    {path: corrected * var for path, (_, var) in moments.items()},
  )


def averages_of(sums: Sums, form: Form = Form.PRECISE) -> Averages:
  """Mean and variance of the population."""
  means = {path: total / sums.examples for path, total in sums.means.items()}
  if form is Form.INCEPTION:
    return {path: Moments(means[path], x / sums.examples) for path, x in sums.variances.items()}
  correction = sums.examples / (sums.examples - 1) if form is Form.PRECISE else 1.0
  return {
    path: Moments(
      means[path], correction * jnp.maximum(x / sums.examples - jnp.square(means[path]), 0)
    )
    for path, x in sums.squares.items()
  }


def precise_statistics(
  forward: Pass,
  params: Any,
  state: State,
  batches: Iterable[Any],
  *,
  form: Form = Form.PRECISE,
) -> dict[str, Any]:
  """PreciseBN: the state for evaluation, its averages computed anew from `batches`.

  Every batch goes through the network once; all layers are measured on the way.  10^3 to 10^4
  examples in all are enough (Figure 3); batches should be large, as what a layer is fed is
  normalized by the batch (Table 2), and may differ in size.

  Args:
    forward: a pass in training, not compiled and without `ghost`; the same object is compiled once.
    params: of the network, which stay as they are.
    state: of the network; what it has beside the averages is kept.
    batches: what `forward` takes.  Images of another domain give that domain's statistics.
    form: of the variance; N counts examples.

  Raises:
    InputError: there are no batches, a state without batch normalization, or fewer examples than
      the form needs: two in all, or in each batch for `Form.INCEPTION`.
  """
  sums = None
  for batch in batches:
    if form is Form.INCEPTION and len(jax.tree.leaves(batch)[0]) < 2:
      raise InputError(f'form={form.name}: a batch of 1 example has no unbiased variance')
    one = _compiled_sums(forward, params, state, batch)
    sums = one if sums is None else jax.tree.map(jnp.add, sums, one)
  if sums is None:
    raise InputError('batches is empty: population statistics need some examples')
  if form is Form.PRECISE and sums.examples < 2:
    raise InputError(f'form={form.name}: 1 example has no unbiased variance')
  return write_averages(state, averages_of(sums, form))


def ema_statistics(
  forward: Pass, params: Any, state: State, batches: Iterable[Any], *, decay: float
) -> dict[str, Any]:
  """The state whose averages are exponential moving averages over `batches` (section 3).

  They begin anew and are corrected for their start, so that early batches count in full.

  Raises:
    InputError: the decay is not in [0, 1), or there is no batch.
  """
  pass_with_decay = jax.jit(with_decay(forward, decay))
  new, seen = reset_averages(state), False
  for batch in batches:
    (_, new), seen = pass_with_decay(params, new, batch), True
  if not seen:
    raise InputError('batches is empty: population statistics need some examples')
  return {path: dict(leaves) for path, leaves in new.items()}


_compiled_sums = functools.partial(jax.jit, static_argnums=0)(sum_statistics)
