"""Scores of batches with several right answers, and where some classes do not occur."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.training.scores import add_up
from nfnets.training.scoring import score_batch

LOGITS = jnp.array(
  [
    [5.0, 1, 2, 3, 4, 0, -1],
    [0.0, 1, 2, 3, 4, 5, 6],
    [7.0, 6, 5, 4, 3, 2, 1],
    [1.0, 2, 3, 4, 5, 6, 7],
  ]
)


def scored(right: list[list[int]], mask=(1, 1, 1, 1), classes=None, logits=LOGITS):
  batch = {'right_labels': jnp.array(right), 'mask': jnp.array(mask, jnp.float32)}
  sums = jax.jit(score_batch, static_argnums=2)(logits, batch, classes)
  return add_up([sums | {'bad_records': 0}])


def test_one_of_several_right_answers_is_enough():
  # Best is 0, 6, 0, 6; the third has its answer in the second place, the fourth in the sixth.
  tally = scored([[3, 0, -1], [6, -1, -1], [1, -1, -1], [1, -1, -1]])
  scores = tally.scores()
  assert (scores.accuracy, scores.top5, scores.examples) == (2 / 4, 3 / 4, 4)
  np.testing.assert_array_equal(tally.per_class[:, 0], [0, 2, 0, 1, 0, 0, 1])
  np.testing.assert_array_equal(tally.per_class[:, 1], [0, 0, 0, 1, 0, 0, 1])


def test_the_loss_is_that_of_all_right_answers_together():
  p = np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum()
  tally = scored([[3, 0, -1]] * 4, mask=(1, 0, 0, 0))
  assert tally.scores().loss == pytest.approx(-np.log(p[3] + p[0]), rel=1e-6)
  single = scored([[3]] * 4, mask=(1, 0, 0, 0))
  assert single.scores().loss == pytest.approx(-np.log(p[3]), rel=1e-6)


def test_an_example_without_a_right_answer_counts_for_nothing():
  tally = scored([[0, -1], [-1, -1], [-1, -1], [6, -1]], mask=(1, 0, 0, 1))
  assert tally.scores().examples == 2
  assert tally.scores().accuracy == 1
  assert tally.by_confidence[:, 0].sum() == 2


def test_classes_that_do_not_occur_are_left_out():
  """Among 1, 2, 4 and 5 alone the first row's best is 4, the second's 5."""
  classes = (1, 2, 4, 5)
  tally = scored([[4], [5], [2], [1]], classes=classes)
  np.testing.assert_array_equal(tally.per_class[:, 1], [0, 0, 0, 0, 1, 1, 0])
  assert tally.scores().top5 == 1  # of four
  chances = jax.nn.softmax(LOGITS[:, np.array(classes)])
  expected = -np.log([chances[0, 2], chances[1, 3], chances[2, 1], chances[3, 0]])
  np.testing.assert_allclose(tally.per_class[[4, 5, 2, 1], 3], expected, rtol=1e-5)
  assert tally.by_confidence[:, 1].sum() == pytest.approx(float(chances.max(1).sum()), rel=1e-6)


def test_bins_of_confidence():
  """Of two classes, whose probabilities are chosen: three bins are not empty."""
  confidence = np.array([0.501, 0.59, 0.95, 0.99999999])
  logits = jnp.log(jnp.array([confidence, 1 - confidence]).T)
  tally = scored([[0], [1], [0], [0]], logits=logits)
  np.testing.assert_array_equal(np.flatnonzero(tally.by_confidence[:, 0]), [7, 8, 14])
  gaps = [1 - 0.501, 0.59 - 0, 2 - (0.95 + 1)]
  assert tally.scores().calibration_error == pytest.approx(np.sum(gaps) / 4, rel=1e-5)
