"""Batch normalization of vectors, with running averages that are exact from the first batch on."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from nfnets.models.normalization import EPS

BlockState = Mapping[str, Mapping[str, jax.Array]]
DECAY = 0.9
"""Of the averages, as for the networks of the zoo."""


def fresh_averages(shape: tuple[int, ...]) -> dict[str, jax.Array]:
  """Before the first batch, of channels [..., C]: mean 0, variance 1."""
  return {
    'mean': jnp.zeros(shape),
    'variance': jnp.ones(shape),
    'batches': jnp.zeros(shape[:-1]),
  }


def normalize(
  leaves: Mapping[str, jax.Array],
  averages: Mapping[str, jax.Array],
  x: jax.Array,
  *,
  is_training: bool,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Normalizes `x` [N, C]: by the batch while training, by the averages otherwise.

  Returns:
    It, scaled and shifted, and the averages that this batch has been taken into.
  """
  if is_training:
    mean, variance = jnp.mean(x, 0), jnp.var(x, 0)
    averages = _taken_in(averages, mean, variance)
  else:
    mean, variance = averages['mean'], averages['variance']
  factor = jax.lax.rsqrt(variance + EPS) * leaves['scale']
  return (x - mean) * factor + leaves['offset'], dict(averages)


def _taken_in(
  averages: Mapping[str, jax.Array], mean: jax.Array, variance: jax.Array
) -> dict[str, jax.Array]:
  """An exponential average divided by the sum of its weights, as one step."""
  batches = averages['batches'] + 1
  share = (1 - DECAY) / (1 - DECAY**batches)
  return {
    'mean': averages['mean'] + share * (mean - averages['mean']),
    'variance': averages['variance'] + share * (variance - averages['variance']),
    'batches': batches,
  }
