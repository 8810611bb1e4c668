"""One training step: against the reference, over devices and mappings, and when numbers fail."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden.golden_values import fill
from micro import batchnorm_model, micro_model

from nfnets import create_model
from nfnets.data.datasets import Dataset
from nfnets.optim import adaptive_grad_clip, read_clipped_fraction, sgd_agc, warmup_cosine
from nfnets.training.config import Config, OptimizerConfig
from nfnets.training.parallel import make_mapping
from nfnets.training.state import TrainState, create_state
from nfnets.training.step import make_eval_step, make_train_step

GOLDEN = json.loads((Path(__file__).parents[1] / 'golden/train_nfnet_tiny.json').read_text())

# Leaves what the tests feed as it is.
DATASET = Dataset(
  name='raw',
  tfds_name='raw',
  train_split='train',
  eval_split='test',
  num_classes=10,
  mean=(0.0, 0.0, 0.0),
  std=(1.0, 1.0, 1.0),
)
CONFIG = Config(
  optimizer=OptimizerConfig(weight_decay=0.02, clipping=0.01),
  precision='float32',
  label_smoothing=0.1,
)
SCHEDULE = warmup_cosine(0.2, warmup_steps=2, total_steps=10)
OPTIMIZER = sgd_agc(SCHEDULE, weight_decay=0.02, clipping=0.01, clip_eps=1e-3)


def tiny():
  return create_model('nfnet_tiny', 10, drop_rate=0.0, stochdepth_rate=0.0)


def mapped_step(model, how='pmap', devices=1, micro_batch_size=None):
  mapping = make_mapping(how, jax.devices()[:devices])
  config = dataclasses.replace(CONFIG, micro_batch_size=micro_batch_size)
  step = make_train_step(model, OPTIMIZER, SCHEDULE, DATASET, config)
  return mapping, mapping.train_step(step)


def golden_batches() -> list[dict[str, np.ndarray]]:
  rng = np.random.default_rng(GOLDEN['seed'])
  shape, steps = GOLDEN['shape'], GOLDEN['steps']
  images = [rng.standard_normal(shape, dtype=np.float32) for _ in range(steps)]
  labels = [rng.integers(0, GOLDEN['num_classes'], shape[0]) for _ in range(steps)]
  positions = np.arange(shape[0], dtype=np.int32)
  return [
    {'images': x, 'labels': y.astype(np.int32), 'positions': positions}
    for x, y in zip(images, labels, strict=True)
  ]


def golden_state(model) -> TrainState:
  shapes, _ = jax.eval_shape(model.init, jax.random.key(0))
  params = fill({m: {n: x.shape for n, x in leaves.items()} for m, leaves in shapes.items()})
  zero = np.zeros((), np.int32)
  return TrainState(zero, params, {}, OPTIMIZER.init(params), params, {}, zero)


def by_leaf(tree, measure) -> dict[str, float]:
  return {
    f'{m}//{n}': float(measure(np.asarray(x, np.float64)))
    for m, leaves in tree.items()
    for n, x in leaves.items()
  }


def assert_same_numbers(got: dict[str, float], want: dict[str, float], **tolerance) -> None:
  assert got.keys() == want.keys()
  for name, value in want.items():
    np.testing.assert_allclose(got[name], value, err_msg=name, **tolerance)


def assert_trees_equal(a, b) -> None:
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope='module')
def golden_run():
  """State and metrics after each of the reference's six steps."""
  model = tiny()
  mapping, step = mapped_step(model)
  state = mapping.replicate(golden_state(model))
  history = []
  for batch in golden_batches():
    state, metrics = step(state, mapping.spread(batch))
    history.append(jax.device_get(metrics))
  return jax.device_get(state), history


def test_losses_and_rates_equal_the_reference(golden_run) -> None:
  _, history = golden_run
  np.testing.assert_allclose([m['loss'] for m in history], GOLDEN['losses'], rtol=1e-3)
  np.testing.assert_allclose(
    [m['learning_rate'] for m in history], GOLDEN['learning_rates'], rtol=1e-6
  )


def test_norms_are_those_before_the_step(golden_run) -> None:
  _, history = golden_run
  before = optax.tree.norm(golden_state(tiny()).params)
  assert history[0]['parameter_norm'] == pytest.approx(float(before), rel=1e-5)
  # The warm-up's first rate is 0.
  assert history[1]['parameter_norm'] == history[0]['parameter_norm']
  assert history[2]['parameter_norm'] != history[1]['parameter_norm']


def test_parameters_and_averages_equal_the_reference(golden_run) -> None:
  state, _ = golden_run
  assert_same_numbers(by_leaf(state.params, np.linalg.norm), GOLDEN['param_norms'], rtol=1e-3)
  assert_same_numbers(by_leaf(state.ema_params, np.linalg.norm), GOLDEN['ema_norms'], rtol=1e-3)
  # A sum of mixed signs can be near zero: an error of 1e-5 of the norm is allowed beside.
  for name, value in by_leaf(state.params, np.sum).items():
    atol = 1e-5 * GOLDEN['param_norms'][name]
    np.testing.assert_allclose(
      value, GOLDEN['param_sums'][name], rtol=1e-3, atol=atol, err_msg=name
    )


@pytest.mark.slow
def test_gradients_before_and_after_clipping_equal_the_reference(golden_run) -> None:
  _, history = golden_run
  norms = list(GOLDEN['grad_norms'].values())
  np.testing.assert_allclose(history[0]['gradient_norm'], np.linalg.norm(norms), rtol=1e-3)

  model, batch = tiny(), golden_batches()[0]
  params = golden_state(model).params

  def loss(params):
    outputs, _ = model.apply(params, {}, None, batch['images'])
    targets = optax.smooth_labels(jax.nn.one_hot(batch['labels'], 10), 0.1)
    return optax.softmax_cross_entropy(outputs['logits'], targets).mean()

  gradients = jax.jit(jax.grad(loss))(params)
  assert_same_numbers(by_leaf(gradients, np.linalg.norm), GOLDEN['grad_norms'], rtol=1e-3)
  clip = adaptive_grad_clip(0.01, eps=1e-3)
  clipped, _ = clip.update(gradients, clip.init(params), params)
  assert_same_numbers(by_leaf(clipped, np.linalg.norm), GOLDEN['agc_norms'], rtol=1e-3)


def micro_batches() -> list[dict[str, np.ndarray]]:
  return [batch | {'images': batch['images'][:, ::2, ::2]} for batch in golden_batches()]


OTHERS = [('pmap', 2, 1), ('pmap', 4, None), ('shard_map', 4, None)]


@pytest.fixture(scope='module')
def spread_runs():
  """Four steps with dropout and stochastic depth: over devices, mappings and micro-batches."""
  model = micro_model(drop_rate=0.5)
  runs = {}
  for how, devices, micro in [('pmap', 1, None), *OTHERS]:
    mapping, step = mapped_step(model, how, devices, micro)
    state = mapping.replicate(golden_state(model))
    losses = []
    for batch in micro_batches()[:4]:
      state, metrics = step(state, mapping.spread(batch))
      losses.append(float(metrics['loss']))
    runs[how, devices, micro] = losses, jax.device_get(state)
  return runs


@pytest.mark.parametrize('other', OTHERS, ids=str)
def test_devices_mappings_and_micro_batches_agree(spread_runs, other) -> None:
  losses, state = spread_runs['pmap', 1, None]
  other_losses, other_state = spread_runs[other]
  np.testing.assert_allclose(other_losses, losses, atol=1e-5)
  # A gradient multiplied by the number of devices would show here first.
  norms = by_leaf(state.params, np.linalg.norm)
  assert_same_numbers(by_leaf(other_state.params, np.linalg.norm), norms, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope='module')
def micro_step():
  """A step on four devices, with dropout and stochastic depth."""
  model = micro_model(drop_rate=0.5)
  mapping, step = mapped_step(model, 'pmap', 4)
  return mapping, step, lambda: mapping.replicate(golden_state(model))


@pytest.mark.slow
def test_randomness_follows_seed_step_and_position(micro_step) -> None:
  """The same step twice is bitwise the same; other numbers drop other units."""
  mapping, step, start = micro_step
  batch = micro_batches()[0]
  first, metrics = step(start(), mapping.spread(batch))
  again, _ = step(start(), mapping.spread(batch))
  assert_trees_equal(jax.device_get(first), jax.device_get(again))
  loss = float(metrics['loss'])

  _, moved = step(start(), mapping.spread(batch | {'positions': batch['positions'] + 100}))
  assert abs(float(moved['loss']) - loss) > 1e-4
  later = start()._replace(step=mapping.replicate(np.int32(7)))
  _, later = step(later, mapping.spread(batch))
  assert abs(float(later['loss']) - loss) > 1e-4
  reseeded = dataclasses.replace(CONFIG, seed=1)
  step = make_train_step(micro_model(drop_rate=0.5), OPTIMIZER, SCHEDULE, DATASET, reseeded)
  _, other = mapping.train_step(step)(start(), mapping.spread(batch))
  assert abs(float(other['loss']) - loss) > 1e-4


@pytest.mark.slow
def test_the_average_decays_as_configured(micro_step) -> None:
  """Below its warm-up the rate is the config's own: the average is mostly the new parameters."""
  mapping, _, start = micro_step
  optimizer = dataclasses.replace(CONFIG.optimizer, ema_decay=0.05)
  config = dataclasses.replace(CONFIG, optimizer=optimizer)
  step = make_train_step(micro_model(drop_rate=0.5), OPTIMIZER, SCHEDULE, DATASET, config)
  before = start()._replace(step=mapping.replicate(np.int32(2)))  # the warm-up allows 3 / 12
  old = jax.device_get(before.ema_params)
  after, _ = mapping.train_step(step)(before, mapping.spread(micro_batches()[0]))
  jax.tree.map(
    lambda ema, a, b: np.testing.assert_allclose(ema, 0.05 * a + 0.95 * b, rtol=1e-4, atol=1e-6),
    *jax.device_get((after.ema_params, old, after.params)),
  )


def test_a_step_that_is_not_finite_changes_nothing(micro_step) -> None:
  mapping, step, start = micro_step
  batches = micro_batches()
  state, _ = step(start(), mapping.spread(batches[0]))
  before = jax.device_get(state)
  broken = batches[1] | {'images': batches[1]['images'].copy()}
  broken['images'][3, 5, 5, 0] = np.nan
  for count in (1, 2):
    state, metrics = step(state, mapping.spread(broken))
    after = jax.device_get(state)
    assert not np.isfinite(metrics['loss'])
    assert (int(after.step), int(after.bad_steps)) == (1 + count, count)
    assert_trees_equal(after._replace(step=before.step, bad_steps=before.bad_steps), before)
  state, _ = step(state, mapping.spread(batches[1]))
  assert int(state.bad_steps) == 0
  params = jax.device_get(state.params)
  moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), params, before.params)
  assert all(jax.tree.leaves(moved))


def test_the_share_of_clipped_units_is_told_part_by_part(micro_step) -> None:
  mapping, step, start = micro_step
  batch = mapping.spread(micro_batches()[0])
  state, metrics = step(start(), batch)
  told = {name: float(x) for name, x in metrics.items() if name.startswith('clipped')}
  parts = {'stem', 'stage_0', 'stage_1', 'neck', 'head'}
  assert told.keys() == {'clipped', *(f'clipped_{part}' for part in parts)}
  assert told['clipped'] == float(read_clipped_fraction(state.opt_state))
  assert min(told.values()) < told['clipped'] < max(told.values())

  off = dataclasses.replace(CONFIG, optimizer=OptimizerConfig(clipping=None))
  step = make_train_step(micro_model(), OPTIMIZER, SCHEDULE, DATASET, off)
  _, metrics = jax.eval_shape(mapping.train_step(step), state, batch)
  assert not any(name.startswith('clipped') for name in metrics)


def test_donation_frees_the_old_state(micro_step) -> None:
  mapping, step, start = micro_step
  old = start()
  step(old, mapping.spread(micro_batches()[0]))
  assert all(x.is_deleted() for x in jax.tree.leaves(old.params))


@pytest.mark.slow
def test_bfloat16_computes_near_float32_and_keeps_float32_state() -> None:
  model, losses = micro_model(), {}
  for precision in ('float32', 'bfloat16'):
    config = dataclasses.replace(CONFIG, precision=precision)
    mapping = make_mapping('pmap', jax.devices()[:1])
    step = mapping.train_step(make_train_step(model, OPTIMIZER, SCHEDULE, DATASET, config))
    start = mapping.replicate(golden_state(model))
    state, metrics = step(start, mapping.spread(micro_batches()[0]))
    losses[precision] = float(metrics['loss'])
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert {x.dtype for x in floats} == {jnp.dtype('float32')}
  assert 0 < abs(losses['bfloat16'] - losses['float32']) < 0.02


@pytest.mark.slow
def test_a_fresh_state_trains() -> None:
  """From `model.init`, whose skip gains are zero, 30 steps on eight images lower the loss."""
  model, batch = micro_model(), micro_batches()[0]
  schedule = warmup_cosine(0.1, warmup_steps=2, total_steps=40)
  optimizer = sgd_agc(schedule, clipping=0.16)
  mapping = make_mapping('pmap', jax.devices()[:1])
  step = mapping.train_step(make_train_step(model, optimizer, schedule, DATASET, CONFIG))
  state = mapping.replicate(create_state(model, optimizer, jax.random.key(0)))
  losses = []
  for _ in range(30):
    state, metrics = step(state, mapping.spread(batch))
    losses.append(float(metrics['loss']))
  assert losses[0] == pytest.approx(np.log(10), abs=0.05)
  assert losses[-1] < 1.5


def test_a_network_of_one_channel_sees_the_luminance() -> None:
  model = dataclasses.replace(batchnorm_model(), in_channels=1)
  optimizer = sgd_agc(SCHEDULE)
  mapping = make_mapping('pmap', jax.devices()[:1])
  colours = micro_batches()[0]
  labels = colours['labels']
  colours |= {'mask': np.ones(len(labels), np.float32), 'right_labels': labels[:, None]}
  luminance = (colours['images'] @ np.float32([0.299, 0.587, 0.114]))[..., None]
  grey = colours | {'images': np.repeat(luminance, 3, axis=-1)}
  red = colours | {'images': np.repeat(colours['images'][..., :1], 3, axis=-1)}

  state = mapping.replicate(create_state(model, optimizer, jax.random.key(0)))
  evaluate = mapping.eval_step(make_eval_step(model, DATASET, 'float32'))
  losses = [
    float(evaluate(state.params, state.state, mapping.spread(batch))['per_class'][:, 3].sum())
    for batch in (colours, grey, red)
  ]
  assert losses[0] == pytest.approx(losses[1], rel=1e-5)
  assert abs(losses[0] - losses[2]) > 1e-3

  train = mapping.train_step(make_train_step(model, optimizer, SCHEDULE, DATASET, CONFIG))
  after, _ = jax.eval_shape(train, state, mapping.spread(colours))  # three channels would not fit
  assert after.params['WideResNet/~/initial_conv']['w'].shape[2] == 1
