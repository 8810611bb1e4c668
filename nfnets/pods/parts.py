"""What of a run is compiled: its step as every device takes it, or the gradient alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nfnets.models.inspection import parameter_shapes
from nfnets.training.config import Config
from nfnets.training.derived import Derived
from nfnets.training.gradients import make_gradient
from nfnets.training.parallel import Devices, Mapping, make_mapping
from nfnets.training.state import create_state
from nfnets.training.step import make_run_step


class Mapped(NamedTuple):
  """A function on all devices of a pod, and what it is called with."""

  function: Any
  """Of `jax.pmap` or `jax.jit`."""
  shapes: tuple[Any, ...]
  """Its arguments, each array as a `jax.ShapeDtypeStruct`."""


def training_step(config: Config, derived: Derived, devices: Devices) -> Mapped:
  """The step that a run takes: augmentation, gradient, mean over the devices, update."""
  mapping = make_mapping(config.mapping, devices)
  step, optimizer = make_run_step(config, derived)
  state = jax.eval_shape(
    lambda rng: create_state(derived.model, optimizer, rng), jax.random.key(config.seed)
  )
  images = derived.augmentation.images_per_example
  return Mapped(mapping.train_step(step), (state, _batch(config, derived, mapping, images)))


def gradient(config: Config, derived: Derived, devices: Devices) -> Mapped:
  """A forward and a backward pass of images that are not augmented, each device for itself."""
  mapping = make_mapping(config.mapping, devices)
  of_batch = make_gradient(derived.model, derived.dataset, config, frozen=derived.frozen)

  def means(params: Any, state: Any, batch: Any) -> Any:
    return of_batch(params, state, jax.random.key(config.seed), batch)

  params, state = parameter_shapes(derived.model)
  return Mapped(mapping.eval_step(means), (params, state, _batch(config, derived, mapping, 1)))


PARTS: dict[str, Callable[[Config, Derived, Devices], Mapped]] = {
  'step': training_step,
  'gradient': gradient,
}


def _batch(config: Config, derived: Derived, mapping: Mapping, images: int) -> Any:
  """A batch as the loader makes it, with so many images for an example."""
  examples, size = config.batch_size, derived.train_geometry.size
  shape = (examples,) if images == 1 else (examples, images)
  return mapping.spread_shapes(
    {
      'images': jax.ShapeDtypeStruct((*shape, size, size, 3), jnp.uint8),
      'labels': jax.ShapeDtypeStruct(shape, jnp.int32),
      'positions': jax.ShapeDtypeStruct((examples,), jnp.int32),
    }
  )
