import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.errors import InputError
from nfnets.optim import ema_decay, update_ema


@pytest.mark.parametrize(
  ('step', 'decay'), [(0, 0.1), (1, 2 / 11), (8, 0.5), (90, 0.91), (10**5, 100001 / 100010)]
)
def test_the_decay_warms_up(step, decay):
  assert ema_decay(step) == pytest.approx(decay, rel=1e-7)
  assert jax.jit(ema_decay)(step) == pytest.approx(decay, rel=1e-7)


@pytest.mark.parametrize(('step', 'max_decay'), [(91, 0.9), (10**6, 0.99999), (0, 0.0)])
def test_the_decay_stops_at_its_maximum(step, max_decay):
  assert ema_decay(step, max_decay) == np.float32(max_decay)
  assert ema_decay(step, max_decay).dtype == np.float32


def test_the_average_by_hand():
  ema = {'m': {'w': np.float32([1, 2])}}
  for step, (new, expected) in enumerate([([3, 4], [2.8, 3.8]), ([0, 0], [5.6 / 11, 7.6 / 11])]):
    ema = update_ema(ema, {'m': {'w': np.float32(new)}}, step)
    np.testing.assert_allclose(ema['m']['w'], expected, rtol=1e-6)


def test_a_constant_stays_itself_at_the_longest_memory():
  # A pair of factors that does not add up to 1 would drift here: by 3e-8 in each of 2000 updates.
  constant = jnp.float32(1.2345)
  drift = jax.jit(lambda x: jax.lax.fori_loop(0, 2000, lambda _, e: update_ema(e, x, 10**7), x))
  assert drift(constant) == pytest.approx(float(constant), rel=3e-6)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, np.float16, np.float32])
def test_low_precision_parameters_are_averaged_in_float32(dtype):
  ema, new = np.float32(1.001), np.asarray(1.25, dtype)  # 1.001 is 1 in bfloat16
  average = update_ema(ema, new, 10**7, max_decay=0.999)
  assert average.dtype == np.float32
  assert average == pytest.approx(1.001249, rel=1e-6)


def test_the_average_keeps_its_dtype():
  average = update_ema(np.asarray(1, jnp.bfloat16), np.float32(2), 8)
  assert average.dtype == jnp.bfloat16
  assert average == 1.5


def test_counters_take_the_new_value():
  state = update_ema({'counter': jnp.int32(3)}, {'counter': jnp.int32(4)}, 0)
  assert state['counter'] == 4
  assert state['counter'].dtype == np.int32


@pytest.mark.parametrize('max_decay', [1.0, -0.1])
def test_a_wrong_decay_is_named(max_decay):
  message = rf'^max_decay={max_decay}: must be one finite number >= 0 and < 1$'
  with pytest.raises(InputError, match=message):
    ema_decay(0, max_decay)
  with pytest.raises(InputError, match=message):
    update_ema({}, {}, 0, max_decay)
