"""A network for tests, with what prediction needs to know about it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfnets.data.images import EvalGeometry

Outputs = tuple[dict[str, jax.Array], dict]


@dataclasses.dataclass(frozen=True)
class Network:
  model: Any
  params: Any
  state: Any
  labels: tuple[str, ...] | None = None
  geometry: EvalGeometry = dataclasses.field(default=EvalGeometry(size=16, margin=4))
  mean: tuple[float, float, float] = (120.0, 110.0, 100.0)
  std: tuple[float, float, float] = (60.0, 50.0, 40.0)


@dataclasses.dataclass(frozen=True)
class LinearModel:
  """Weighs every pixel once: compiled in no time, and every pixel counts."""

  num_classes: int = 7
  in_channels: int = 3
  name: str = 'linear'

  def apply(self, params: jax.Array, state: dict, rng: None, images: jax.Array) -> Outputs:
    weights = params.astype(images.dtype)
    return {'logits': jnp.einsum('nhwc,hwck->nk', images, weights)}, state


def linear_network(num_classes: int = 7, in_channels: int = 3) -> Network:
  rng = np.random.default_rng(0)
  params = 0.05 * rng.standard_normal((16, 16, in_channels, num_classes), np.float32)
  return Network(LinearModel(num_classes, in_channels), jnp.asarray(params), {})
