import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data.folders import TINY, png

from nfnets.data.images import EvalGeometry
from nfnets.data.records import BadRecord, Record
from nfnets.errors import InputError, RunError
from nfnets.training.evaluation import Evaluator
from nfnets.training.losses import cross_entropy
from nfnets.training.parallel import make_mapping
from nfnets.training.scores import Scores
from nfnets.training.step import make_eval_step

CLASSES, SIZE, COUNT = 7, 8, 17
DATASET = dataclasses.replace(TINY, num_classes=CLASSES, mean=(0.0,) * 3, std=(1.0,) * 3)
GEOMETRY = EvalGeometry(size=SIZE, margin=0)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(1, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
LABELS = RNG.integers(0, CLASSES, COUNT)
WEIGHTS = [RNG.standard_normal((3, CLASSES)).astype(np.float32) for _ in range(2)]


class Net:
  """Linear in the mean colour relative to the brightness: not a number for padding, all zero."""

  in_channels = 3

  def apply(self, params, state, rng, images):
    assert rng is None
    colour = jnp.mean(images, axis=(1, 2))
    return {'logits': (colour / jnp.sum(colour, axis=1, keepdims=True)) @ params['w']}, state


class Examples:
  """The records; those in `bad` cannot be read, those in `torn` cannot be decoded."""

  max_labels = 1

  def __init__(self, count: int = COUNT, bad: tuple[int, ...] = (), torn: tuple[int, ...] = ()):
    self.count, self.bad, self.torn = count, bad, torn

  def __len__(self) -> int:
    return self.count

  def __getitem__(self, i: int) -> Record:
    if i in self.bad:
      raise BadRecord(f'record {i} is damaged')
    image = png(PIXELS[i])
    return Record(image[: len(image) // 2] if i in self.torn else image, (int(LABELS[i]),), f'{i}')


def evaluator(
  records: Examples | None = None, how: str = 'pmap', devices: int = 1, batch_size: int = 8
) -> Evaluator:
  return Evaluator(
    make_eval_step(Net(), DATASET, 'float32'),
    make_mapping(how, jax.devices()[:devices]),
    Examples() if records is None else records,
    GEOMETRY,
    batch_size=batch_size,
  )


def expected(weights: np.ndarray, chosen=range(COUNT), unreadable: int = 0) -> Scores:
  """The scores in float64, example by example."""
  right, top5, loss, confidence = [], [], [], []
  for i in chosen:
    colour = PIXELS[i].astype(np.float64).mean((0, 1))
    logits = colour / colour.sum() @ weights
    order = np.argsort(-logits)
    right.append(order[0] == LABELS[i])
    top5.append(LABELS[i] in order[:5])
    loss.append(np.log(np.exp(logits).sum()) - logits[LABELS[i]])
    confidence.append((np.exp(logits) / np.exp(logits).sum()).max())
  return Scores(
    accuracy=np.mean(right),
    top5=np.mean(top5),
    loss=np.mean(loss),
    calibration_error=calibration_error(np.array(confidence), np.array(right)),
    examples=len(loss),
    unreadable=unreadable,
  )


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
  """As its definition says: the gap of each bin, weighted by the examples in it."""
  bins = np.floor(confidence * 15)
  gaps = [
    np.mean(bins == b) * abs(np.mean(confidence[bins == b]) - np.mean(right[bins == b]))
    for b in np.unique(bins)
  ]
  return float(np.sum(gaps))


def assert_scores(got: Scores, want: Scores) -> None:
  assert (got.examples, got.unreadable) == (want.examples, want.unreadable)
  assert (got.accuracy, got.top5) == (want.accuracy, want.top5)
  assert got.loss == pytest.approx(want.loss, rel=1e-5)
  assert got.calibration_error == pytest.approx(want.calibration_error, rel=1e-4)


def test_the_examples_tell_right_from_wrong():
  scores = expected(WEIGHTS[0])
  assert 0 < scores.accuracy < scores.top5 < 1


@pytest.mark.parametrize('how', ['pmap', 'shard_map'])
@pytest.mark.parametrize('devices', [1, 2, 4])
@pytest.mark.parametrize('batch_size', [1, 5, 8, 100])
def test_every_example_counts_once(how: str, devices: int, batch_size: int):
  """17 examples fill no batch: what pads the last one, and is not a number, must not count."""
  (scores,) = evaluator(None, how, devices, batch_size)(({'w': WEIGHTS[0]}, {}))
  assert_scores(scores, expected(WEIGHTS[0]))


def test_padding_would_not_be_a_number():
  # The net's answer to what the loader pads with; else the test above could not fail.
  outputs, _ = Net().apply({'w': WEIGHTS[0]}, {}, None, jnp.zeros((1, SIZE, SIZE, 3)))
  assert jnp.isnan(cross_entropy(outputs['logits'], jnp.array([0]))).all()


def test_several_models_share_one_pass():
  reads = []

  class Counted(Examples):
    def __getitem__(self, i: int) -> Record:
      reads.append(i)
      return super().__getitem__(i)

  evaluate = evaluator(Counted(), devices=2)
  for scores, weights in zip(evaluate(*(({'w': w}, {}) for w in WEIGHTS)), WEIGHTS, strict=True):
    assert_scores(scores, expected(weights))
  assert sorted(reads) == list(range(COUNT))


@pytest.mark.parametrize('devices', [1, 4])
def test_a_look_is_at_the_first_batch_alone(devices: int):
  evaluate = evaluator(devices=devices, batch_size=8)
  looks = evaluate.look(*(({'w': w}, {}) for w in WEIGHTS))
  for scores, weights in zip(looks, WEIGHTS, strict=True):
    assert_scores(scores, expected(weights, range(8)))
  assert_scores(evaluate(({'w': WEIGHTS[0]}, {}))[0], expected(WEIGHTS[0]))


def test_a_look_at_nothing_that_can_be_read_is_an_error():
  with pytest.raises(RunError, match='nothing was evaluated'):
    evaluator(Examples(bad=tuple(range(8)))).look(({'w': WEIGHTS[0]}, {}))


def test_an_evaluator_can_be_used_again():
  evaluate = evaluator(devices=2)
  for weights in (*WEIGHTS, WEIGHTS[0]):
    assert_scores(evaluate(({'w': weights}, {}))[0], expected(weights))


@pytest.mark.parametrize('devices', [1, 4])
def test_unreadable_records_are_counted_and_left_out(devices: int):
  records = Examples(bad=(0, 9), torn=(16,))
  (scores,) = evaluator(records, devices=devices)(({'w': WEIGHTS[0]}, {}))
  readable = [i for i in range(COUNT) if i not in (0, 9, 16)]
  assert_scores(scores, expected(WEIGHTS[0], readable, unreadable=3))


def test_where_nothing_can_be_read_there_are_no_scores():
  with pytest.raises(RunError, match=r'^nothing was evaluated: no record of the split could be'):
    evaluator(Examples(bad=tuple(range(COUNT))))(({'w': WEIGHTS[0]}, {}))


def test_an_empty_split_has_no_scores():
  with pytest.raises(InputError, match='no examples'):
    evaluator(Examples(count=0))


def test_a_loss_that_is_not_a_number_is_shown():
  (scores,) = evaluator()(({'w': np.full_like(WEIGHTS[0], np.nan)}, {}))
  assert math.isnan(scores.loss)
  assert math.isnan(scores.calibration_error)
  assert (scores.accuracy, scores.top5, scores.examples) == (0, 0, COUNT)


@pytest.mark.parametrize('devices', [1, 4])
def test_every_class_has_its_own_sums(devices: int):
  (tally,) = evaluator(devices=devices).tally(({'w': WEIGHTS[0]}, {}))
  assert tally.per_class.shape == (CLASSES, 4)
  for label in range(CLASSES):
    chosen = np.flatnonzero(label == LABELS)
    assert tally.per_class[label, 0] == len(chosen)
    if len(chosen):
      means = expected(WEIGHTS[0], chosen)
      found = tally.per_class[label] / len(chosen)
      np.testing.assert_allclose(found[1:], [means.accuracy, means.top5, means.loss], rtol=1e-5)


def test_progress_is_told_after_every_batch():
  told = []
  evaluator(batch_size=8).tally(({'w': WEIGHTS[0]}, {}), progress=lambda *done: told.append(done))
  assert told == [(8, 17), (16, 17), (17, 17)]
