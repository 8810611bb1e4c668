"""Losses and scores of classification, one number for each example."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
  """Softmax cross-entropy against smoothed targets.

  Args:
    logits: [N, classes] float32.
    labels: [N] integers; or [N, classes], how much of each class there is, of sum 1, as MixUp and
      CutMix make them.
    label_smoothing: share of the target spread evenly over all classes.

  Returns:
    [N] float32, in nats.
  """
  hard = labels.ndim < logits.ndim
  targets = jax.nn.one_hot(labels, logits.shape[-1]) if hard else labels
  return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, label_smoothing))


def in_top(logits: jax.Array, labels: jax.Array, k: int) -> jax.Array:
  """[N] float32: 1 where fewer than `k` other classes score at least as high as the label's.

  A tie counts against the network, and so does a logit that is not a number.
  """
  of_label = jnp.take_along_axis(logits, labels[:, None], axis=-1)
  ahead = jnp.sum(~(logits < of_label), axis=-1) - 1
  return (ahead < k).astype(jnp.float32)
