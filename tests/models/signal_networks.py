"""What the tests of signal propagation share."""

import dataclasses

import jax
import numpy as np

from nfnets.models.families import FAMILIES
from nfnets.models.variants import VARIANTS
from nfnets.models.zoo import Model, create_model

CURVES = ('squared_mean', 'variance', 'branch_variance')


def normal_images(seed: int, *shape: int) -> jax.Array:
  return jax.random.normal(jax.random.key(1000 + seed), shape)


def with_gain(name: str, **options) -> Model:
  """The network with gain 1, if it has gains."""
  if 'skip_gain' in FAMILIES[VARIANTS[name].family].options:
    options['skip_gain'] = 1.0
  return create_model(name, **options)


def changed(model: Model, **changes) -> Model:
  return dataclasses.replace(model, variant=dataclasses.replace(model.variant, **changes))


def statistics_of(x: np.ndarray) -> tuple[float, float]:
  """Average channel squared mean, average channel variance."""
  rows = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
  return np.mean(rows.mean(0) ** 2), np.mean(rows.var(0))
