"""The update by kernels for CPUs is that of optax: parameters, momentum, averages and figures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from micro import micro_model

from nfnets.optim.depths import place_of
from nfnets.training.config import Config, FineTuneConfig, ModelConfig, OptimizerConfig
from nfnets.training.derived import derive
from nfnets.training.kernel_update import make_rule, with_kernels
from nfnets.training.optimizer import make_optimizer
from nfnets.training.parallel import make_mapping
from nfnets.training.state import create_state
from nfnets.training.step import make_train_step
from nfnets.training.update import Before, make_update

pytestmark = pytest.mark.usefixtures('kernels')

MODEL = micro_model()
DEPTHS = MODEL.variant.depths
STEP = 40
BASE = Config(
  model=ModelConfig(name='nfnet_tiny'),
  optimizer=OptimizerConfig(weight_decay=0.02, clipping=0.05, ema_decay=0.9),
  batch_size=64,
)
CONFIGS = {
  'released': BASE,
  'without nesterov': dataclasses.replace(
    BASE, optimizer=dataclasses.replace(BASE.optimizer, nesterov=False)
  ),
  'without clipping': dataclasses.replace(
    BASE, optimizer=dataclasses.replace(BASE.optimizer, clipping=None)
  ),
  'rates by depth': dataclasses.replace(BASE, finetune=FineTuneConfig(layer_decay=0.5)),
  'without momentum': dataclasses.replace(
    BASE, optimizer=dataclasses.replace(BASE.optimizer, momentum=0.0, weight_decay=0.0)
  ),
}


def updates(config):
  """The update as optax has it, the same with kernels, and the optimizer."""
  derived = derive(config, num_examples=6400)
  optimizer, schedule = make_optimizer(config, derived)
  plain = make_update(optimizer, schedule, config.optimizer, depths=DEPTHS, frozen=())
  rule = make_rule(config, derived)
  assert rule is not None
  ours = with_kernels(
    plain, rule, schedule, max_ema_decay=config.optimizer.ema_decay, depths=DEPTHS
  )
  return plain, ours, optimizer


def draw(optimizer, *, loss=2.0):
  """The middle of a run: gradients of all sizes, a step behind the count of the rate."""
  rng = np.random.default_rng(0)
  shapes, _ = jax.eval_shape(MODEL.init, jax.random.key(0))

  def noise(tree, scale):
    return jax.tree.map(
      lambda x: jnp.asarray(scale * rng.standard_normal(x.shape, np.float32)), tree
    )

  params = noise(shapes, 0.1)
  opt_state = optax.tree_utils.tree_set(
    optimizer.init(params), trace=noise(shapes, 0.3), count=jnp.int32(STEP - 1)
  )
  gradients = jax.tree.map(lambda x, y: x * 10**y, noise(shapes, 0.01), noise(shapes, 1.0))
  ema_params = noise(shapes, 0.1)
  return Before(jnp.int32(STEP), params, opt_state, ema_params, gradients, jnp.float32(loss))


def in_place(update):
  """Of what is kept, and of what is not: the memory of the former may be used again."""

  def function(kept, rest):
    params, opt_state, ema_params = kept
    return update(rest._replace(params=params, opt_state=opt_state, ema_params=ema_params))

  return jax.jit(function, donate_argnums=0)


def split(before):
  """The arguments of `in_place`."""
  kept = before.params, before.opt_state, before.ema_params
  return kept, before._replace(params=None, opt_state=None, ema_params=None)


def close(actual, expected):
  scale = max(float(np.max(np.abs(expected))), 1e-6)
  np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=1e-6)


def assert_alike(ours, plain):
  assert jax.tree.structure(ours) == jax.tree.structure(plain)
  for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(plain), strict=True):
    assert (a.dtype, a.shape) == (b.dtype, b.shape), jax.tree_util.keystr(path)
    close(np.asarray(a, np.float64), np.asarray(b, np.float64))


@pytest.mark.parametrize('name', CONFIGS)
def test_all_results_are_those_of_optax(name):
  plain, ours, optimizer = updates(CONFIGS[name])
  before = draw(optimizer)
  after = jax.jit(ours)(before)
  assert_alike(after, jax.jit(plain)(before))
  moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), after.params, before.params)
  assert all(jax.tree.leaves(moved))


def test_what_is_compared_clips_some_units_of_every_part_and_not_all():
  _, ours, optimizer = updates(BASE)
  figures = jax.jit(ours)(draw(optimizer)).figures
  told = {name: float(x) for name, x in figures.items() if name.startswith('clipped')}
  assert {f'clipped_{part}' for part in ('stem', 'stage_0', 'stage_1', 'neck', 'head')} < set(told)
  assert 0 < told['clipped'] < 1


@pytest.mark.parametrize('what', ['loss', 'gradients', 'params'])
def test_a_step_that_is_not_finite_changes_no_bit(what):
  _, ours, optimizer = updates(BASE)
  before = draw(optimizer, loss=np.nan if what == 'loss' else 2.0)
  if what != 'loss':
    leaves, structure = jax.tree.flatten(getattr(before, what))
    leaves[3] = leaves[3].at[..., 0].set(np.inf)
    before = before._replace(**{what: jax.tree.unflatten(structure, leaves)})
  old, rest = split(before)
  kept = jax.device_get(old)
  after = in_place(ours)(old, rest)
  assert not after.taken
  jax.tree.map(
    np.testing.assert_array_equal, (after.params, after.opt_state, after.ema_params), kept
  )


def test_it_takes_place_in_the_memory_of_the_old_state():
  _, ours, optimizer = updates(BASE)
  program = in_place(ours).lower(*split(draw(optimizer))).compile().as_text()
  assert program.count('custom_call_target="nfnets_update"') > 1  # arrays in several calls
  copied = [line for line in program.splitlines() if ' copy(' in line and 'f32[]' not in line]
  assert [line for line in copied if 's32[]' not in line] == []


@pytest.mark.parametrize('how', ['pmap', 'shard_map'])
def test_a_whole_step_on_two_devices_is_that_without(how):
  derived = derive(BASE, num_examples=6400)
  optimizer, schedule = make_optimizer(BASE, derived)
  mapping = make_mapping(how, jax.devices()[:2])
  rng = np.random.default_rng(0)
  batch = {
    'images': rng.integers(0, 256, (8, 16, 16, 3), np.uint8),
    'labels': rng.integers(0, 10, 8, np.int32),
    'positions': np.arange(8, dtype=np.int32),
  }
  states = []
  for rule in (make_rule(BASE, derived), None):
    step = make_train_step(MODEL, optimizer, schedule, derived.dataset, BASE, rule=rule)
    train = mapping.train_step(step)
    state = mapping.replicate(create_state(MODEL, optimizer, jax.random.key(0)))
    state = state._replace(step=mapping.replicate(np.int32(STEP)))
    for _ in range(2):
      state, metrics = train(state, mapping.spread(batch))
    states.append(jax.device_get((state, metrics)))
  (ours, _), (plain, _) = states
  assert_alike(*states)
  first = create_state(MODEL, optimizer, jax.random.key(0))
  assert any(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), ours.params, first.params)))
  assert int(ours.bad_steps) == int(plain.bad_steps) == 0


def test_other_dtypes_are_left_to_optax():
  plain, ours, optimizer = updates(BASE)
  before = draw(optimizer)
  before = before._replace(params=jax.tree.map(jnp.bfloat16, before.params))
  assert 'nfnets' not in jax.jit(ours).lower(before).as_text()
  assert_alike(jax.jit(ours)(before), jax.jit(plain)(before))


@pytest.mark.parametrize(
  'config',
  [
    dataclasses.replace(BASE, finetune=FineTuneConfig(freeze_to='stem')),
    dataclasses.replace(BASE, optimizer=dataclasses.replace(BASE.optimizer, clip_norm='layer')),
    dataclasses.replace(BASE, optimizer=dataclasses.replace(BASE.optimizer, clip_norm='global')),
  ],
  ids=['frozen', 'layer', 'global'],
)
def test_optimizers_that_are_not_served_have_no_rule(config):
  assert make_rule(config, derive(config, num_examples=6400)) is None


def test_the_parts_of_the_network_are_told_by_name():
  """Without this the figures above could all be those of one part."""
  shapes, _ = jax.eval_shape(MODEL.init, jax.random.key(0))
  places = {place_of(module, name) for module, leaves in shapes.items() for name in leaves}
  assert {'stem', 'block_0', 'block_1', 'block_2', 'neck', 'head'} == places
