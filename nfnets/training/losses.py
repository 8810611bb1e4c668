"""Losses and scores of classification, one number for each example."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
  """Softmax cross-entropy against smoothed one-hot targets.

  Args:
    logits: [N, classes] float32.
    labels: [N] integers.
    label_smoothing: share of the target spread evenly over all classes.

  Returns:
    [N] float32, in nats.
  """
  targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
  return optax.softmax_cross_entropy(logits, targets)


def in_top(logits: jax.Array, labels: jax.Array, k: int) -> jax.Array:
  """[N] float32: 1 where fewer than `k` other classes score at least as high as the label's.

  A tie counts against the network, and so does a logit that is not a number.
  """
  of_label = jnp.take_along_axis(logits, labels[:, None], axis=-1)
  ahead = jnp.sum(~(logits < of_label), axis=-1) - 1
  return (ahead < k).astype(jnp.float32)
