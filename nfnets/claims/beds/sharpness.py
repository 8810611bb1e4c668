"""How sharp a minimum is: what SAM makes smaller."""

from typing import Any

import jax
import jax.numpy as jnp

from nfnets.augment.normalize import normalize
from nfnets.claims.beds.images import Images, Split
from nfnets.claims.beds.training import Network
from nfnets.optim.sam import ascend
from nfnets.training.losses import cross_entropy


def sharpness(
  network: Network, params: Any, state: Any, images: Images, split: Split, *, rho: float
) -> float:
  """By how much the loss on `split` grows at the distance `rho` along its gradient.

  That is what SAM minimizes beside the loss itself (arXiv 2010.01412, section 2), to first order;
  the network is that of evaluation.

  Args:
    network: whose loss it is.
    params: where it is measured.
    state: of the network.
    images: whose mean and deviation normalize.
    split: images and labels, taken all at once.
    rho: the distance, in the 2-norm over all parameters.
  """
  x = normalize(jnp.asarray(split.images), images.mean, images.std, jnp.float32)

  def loss_of(params: Any) -> jax.Array:
    outputs, _ = network.apply(params, state, None, x, is_training=False)
    return jnp.mean(cross_entropy(outputs['logits'], jnp.asarray(split.labels)))

  @jax.jit
  def rise(params: Any) -> jax.Array:
    loss, gradients = jax.value_and_grad(loss_of)(params)
    return loss_of(ascend(params, gradients, rho)) - loss

  return float(rise(params))
