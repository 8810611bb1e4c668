import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.training.losses import cross_entropy, in_top

NAN, INF = math.nan, math.inf


def cross_entropy_by_hand(logits, label, smoothing):
  """-sum over the classes of target * log softmax, in float64."""
  total = math.log(sum(math.exp(x) for x in logits))
  loss = 0.0
  for k, x in enumerate(logits):
    target = smoothing / len(logits) + (1 - smoothing) * (k == label)
    loss -= target * (x - total)
  return loss


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 0.5])
def test_cross_entropy_against_a_loop(smoothing: float):
  rng = np.random.default_rng(0)
  logits, labels = 3 * rng.standard_normal((8, 5)), rng.integers(0, 5, 8)
  expected = [cross_entropy_by_hand(x, y, smoothing) for x, y in zip(logits, labels, strict=True)]
  got = jax.jit(cross_entropy)(logits.astype(np.float32), labels, smoothing)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_large_logits_do_not_overflow():
  np.testing.assert_allclose(
    cross_entropy(jnp.array([[1000.0, 0.0], [1000.0, 0.0]]), jnp.array([0, 1])), [0, 1000]
  )


@pytest.mark.parametrize(
  ('logits', 'label', 'ranks'),
  [
    # `ranks`: the smallest k for which the label is in the top k.
    ([3, 2, 1, 0], 0, 1),
    ([3, 2, 1, 0], 2, 3),
    ([1, 1, 0, 0], 0, 2),  # a tie counts against the network, on either side
    ([1, 1, 0, 0], 1, 2),
    ([0, 0, 0, 0], 3, 4),
    ([NAN, 2, 1, 0], 1, 2),  # so does what is not a number
    ([NAN, 2, 1, 0], 0, 4),
    ([NAN, NAN, NAN, NAN], 2, 4),
    ([INF, 2, 1, 0], 0, 1),
    ([-INF, -INF, 1, 0], 0, 4),
  ],
)
def test_in_top(logits: list[float], label: int, ranks: int):
  for k in range(1, 7):  # beyond the 4 classes every label is among the first
    got = in_top(jnp.array([logits], jnp.float32), jnp.array([label]), k)
    assert got.dtype == jnp.float32
    assert got.tolist() == [float(k >= ranks)]


def test_in_top_takes_each_example_by_itself():
  logits = jnp.array([[2.0, 1, 0], [2, 1, 0], [2, 1, 0]])
  assert in_top(logits, jnp.array([0, 1, 2]), 2).tolist() == [1, 1, 0]
