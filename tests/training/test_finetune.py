"""What a network has learnt of five handwritten digits helps it with the other five."""

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from nfnets import create_model
from nfnets.data.builders.digits import read_digits
from nfnets.data.datasets import DATASETS
from nfnets.loading import load_weights, save_weights
from nfnets.models.variants import VARIANTS
from nfnets.models.zoo import Model
from nfnets.optim import sgd_agc, warmup_cosine
from nfnets.training.config import Config
from nfnets.training.parallel import make_mapping
from nfnets.training.state import TrainState, create_state
from nfnets.training.step import make_train_step

NAME = 'nf_wide_resnet_micro'
VARIANT = dataclasses.replace(
  VARIANTS['nf_wide_resnet_16_2'],
  depths=(1, 1), widths=(16, 32), strides=(1, 2), stem_channels=16, train_size=8, test_size=8,
)  # fmt: skip
STEPS, BATCH = 30, 32
ROUNDS = 8  # of STEPS, to learn the old digits
FEW = 10  # labelled images of each new digit
SEEDS = (0, 1, 2)

# The rule: over the seeds, the mean accuracy on held-out images of the new digits is higher by ten
# points, and no fine-tuned network is worse than its twin that had no weights to start from.
MARGIN = 0.1

Half = dict[str, np.ndarray]


def half(digits: range, split: slice, most: int | None = None) -> Half:
  """Images of five digits, which are labelled 0 to 4: `split` of each digit's, `most` at most."""
  images, labels = read_digits()
  chosen = np.concatenate([np.flatnonzero(labels == digit)[split][:most] for digit in digits])
  pixels = np.repeat(images[chosen][..., None], 3, axis=-1).astype(np.float32)
  return {'images': pixels, 'labels': (labels[chosen] - digits.start).astype(np.int32)}


OLD = half(range(5), slice(1, None))
NEW = half(range(5, 10), slice(1, None, 5), FEW)
HELD_OUT = half(range(5, 10), slice(0, None, 5))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
  monkeypatch.setitem(VARIANTS, NAME, VARIANT)
  return create_model(NAME, 5)


def trainer(model: Model) -> Callable[..., TrainState]:
  """`train(data, seed, start)`: STEPS steps; one recipe for all, and one program."""
  schedule = warmup_cosine(0.5, warmup_steps=10, total_steps=STEPS)
  optimizer = sgd_agc(schedule, clipping=0.16)
  config = Config(precision='float32', label_smoothing=0.0)
  mapping = make_mapping('pmap', jax.devices()[:1])
  step = make_train_step(model, optimizer, schedule, DATASETS['digits'], config)
  mapped = mapping.train_step(step)

  def train(data: Half, seed: int, start: tuple | None = None) -> TrainState:
    rng = np.random.default_rng(seed)
    state = mapping.replicate(create_state(model, optimizer, jax.random.key(seed), start=start))
    for _ in range(STEPS):
      chosen = rng.integers(len(data['labels']), size=BATCH)
      batch = {name: part[chosen] for name, part in data.items()}
      positions = np.arange(BATCH, dtype=np.int32)
      state, _ = mapped(state, mapping.spread(batch | {'positions': positions}))
    return state

  return train


def accuracy(model: Model, params: dict) -> float:
  digits = DATASETS['digits']
  pixels = (HELD_OUT['images'] - np.float32(digits.mean)) / np.float32(digits.std)
  logits = jax.jit(lambda params: model.apply(params, {}, None, pixels)[0]['logits'])(params)
  return float(np.mean(np.argmax(logits, axis=-1) == HELD_OUT['labels']))


@pytest.mark.slow
def test_fine_tuning_beats_training_from_scratch(tmp_path: Path, model: Model):
  train = trainer(model)
  start = None
  for seed in range(ROUNDS):
    state = train(OLD, seed, start)
    start = state.params, state.state
  save_weights(tmp_path / 'old.safetensors', model, state.params)

  scratch, tuned = [], []
  for seed in SEEDS:
    rng = jax.random.key(seed)
    start = load_weights(tmp_path / 'old.safetensors', model, new_head=True, rng=rng)
    scratch.append(accuracy(model, train(NEW, seed).params))
    tuned.append(accuracy(model, train(NEW, seed, start).params))
  assert all(a >= b for a, b in zip(tuned, scratch, strict=True))
  assert statistics.mean(tuned) - statistics.mean(scratch) >= MARGIN
