"""Sharpness-aware minimization: the gradient is taken where the loss nearby is highest.

Source: Foret et al. 2020, "Sharpness-Aware Minimization for Efficiently Improving Generalization"
(arXiv 2010.01412), section 2 and algorithm 1.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from nfnets.optim.norms import tree_norm

RHO = 0.05
"""The default of the paper, and what NFNets were fine-tuned with (arXiv 2102.06171, A.5)."""


def ascend(params: optax.Params, gradients: optax.Updates, rho: jax.typing.ArrayLike = RHO) -> Any:
  """The point at the distance `rho` from `params` in the direction of their gradients.

  The direction is that of all parameters together: `params + rho * gradients / ||gradients||`.
  Where all gradients are zero there is no direction, and the point is `params`.  The descent
  follows the gradient at this point, but starts from `params`:

    ascent = jax.grad(loss)(params, batch)
    gradients = jax.grad(loss)(nfnets.optim.ascend(params, ascent), batch)
    updates, opt_state = optimizer.update(gradients, opt_state, params)

  Args:
    params: a tree of arrays.
    gradients: of the loss at `params`, in the same structure; neither clipped nor with weight
      decay.
    rho: the distance, in the 2-norm over all parameters; 0 or more.
  """
  norm = tree_norm(gradients)
  scale = jnp.where(norm > 0, rho / jnp.where(norm > 0, norm, 1), 0)

  def move(param: jax.Array, gradient: jax.Array) -> jax.Array:
    return param + (scale * gradient).astype(param.dtype)

  return jax.tree.map(move, params, gradients)
