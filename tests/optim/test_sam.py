import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.optim import ascend

PARAMS = {'a': {'w': jnp.array([[1.0, 2.0], [3.0, 4.0]])}, 'b': {'bias': jnp.array([0.5])}}
GRADIENTS = {'a': {'w': jnp.array([[0.0, 3.0], [0.0, 0.0]])}, 'b': {'bias': jnp.array([-4.0])}}


def test_one_norm_over_all_parameters():
  """The gradients 3 and -4 have the norm 5 together."""
  moved = ascend(PARAMS, GRADIENTS, 0.1)
  np.testing.assert_allclose(moved['a']['w'], [[1, 2.06], [3, 4]], rtol=1e-6)
  np.testing.assert_allclose(moved['b']['bias'], [0.42], rtol=1e-6)


@pytest.mark.parametrize('rho', [0.05, 2.0])
def test_the_distance_is_rho_in_the_direction_of_the_gradients(rho: float):
  rng = np.random.default_rng(0)
  params = {
    'm': {n: rng.standard_normal(s).astype(np.float32) for n, s in (('w', (3, 4)), ('b', 4))}
  }
  gradients = jax.tree.map(lambda x: 1e-3 * np.sin(x), params)
  step = jax.tree.map(lambda a, b: np.float64(a) - b, ascend(params, gradients, rho), params)
  flat = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]) for t in (step, gradients)]
  assert np.linalg.norm(flat[0]) == pytest.approx(rho, rel=1e-5)
  cosine = flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
  assert cosine == pytest.approx(1, abs=1e-6)


def test_without_a_gradient_nothing_moves():
  zeros = jax.tree.map(jnp.zeros_like, PARAMS)
  jax.tree.map(np.testing.assert_array_equal, ascend(PARAMS, zeros, 0.1), PARAMS)
