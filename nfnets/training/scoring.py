"""How well a batch was classified: sums that add up over batches and devices."""

import jax
import jax.numpy as jnp
import numpy as np

from nfnets.training.losses import in_top

BINS = 15
"""Of confidences, equally wide: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv
1706.04599), section 2."""


def score_batch(
  logits: jax.Array, batch: dict[str, jax.Array], classes: tuple[int, ...] | None = None
) -> dict[str, jax.Array]:
  """Sums over the examples of a batch whose mask is not 0.

  An example may have several right answers (ReaL): it is classified rightly if the class that
  scores highest is one of them, and its loss is the cross-entropy against all of them together.

  Args:
    logits: [N, num_classes] float32.
    batch: `mask` [N] and `right_labels` [N, K], the right answers, then -1.
    classes: the labels that occur, in ascending order: all other logits are left out.

  Returns:
    per_class: [num_classes, 4] float32, by the first right answer: examples, those classified
      rightly, those with a right answer among the five best, loss in nats.
    by_confidence: [BINS, 3] float32, by the greatest probability: examples, sum of the greatest
      probabilities, examples classified rightly.
  """
  num_classes, first = logits.shape[-1], batch['right_labels'][:, 0]
  right = batch['right_labels']
  if classes is not None:
    logits = logits[:, np.array(classes)]
    right = _places(num_classes, classes)[right]
  top1, top5, loss = (
    _any_in_top(logits, right, 1),
    _any_in_top(logits, right, 5),
    _loss(logits, right),
  )
  confidence = jnp.max(jax.nn.softmax(logits), axis=-1)
  counts = batch['mask'] > 0
  ones = jnp.ones_like(loss)

  def add_up(columns: list[jax.Array], places: jax.Array, rows: int) -> jax.Array:
    table = jnp.where(counts[:, None], jnp.stack(columns, axis=1), 0)
    return jnp.zeros((rows, len(columns))).at[places].add(table)

  bins = jnp.clip(jnp.nan_to_num(confidence) * BINS, 0, BINS - 1).astype(jnp.int32)
  return {
    'per_class': add_up([ones, top1, top5, loss], jnp.maximum(first, 0), num_classes),
    'by_confidence': add_up([ones, confidence, top1], bins, BINS),
  }


def _places(num_classes: int, classes: tuple[int, ...]) -> jax.Array:
  """[num_classes + 1]: where in `classes` a label stands; the last entry is for -1."""
  places = np.full(num_classes + 1, -1, np.int32)
  places[list(classes)] = np.arange(len(classes))
  return jnp.asarray(places)


def _any_in_top(logits: jax.Array, right: jax.Array, k: int) -> jax.Array:
  """[N] float32: 1 where a right answer is among the `k` best; a tie counts against the network."""
  hits = jax.vmap(lambda labels: in_top(logits, jnp.maximum(labels, 0), k), 1, 1)(right)
  return jnp.max(jnp.where(right >= 0, hits, 0), axis=1)


def _loss(logits: jax.Array, right: jax.Array) -> jax.Array:
  """[N] float32: minus the logarithm of the probability of all right answers together."""
  chances = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(right, 0), axis=-1)
  return -jax.nn.logsumexp(jnp.where(right >= 0, chances, -jnp.inf), axis=-1)
