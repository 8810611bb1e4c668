"""The feature maps of a network, as heads for detection and segmentation need to know them."""

from collections.abc import Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nfnets.models.residual import feature_names
from nfnets.models.zoo import Model


class FeatureShape(NamedTuple):
  """One feature map of one image."""

  height: int
  width: int
  channels: int
  stride: int
  """Pixels of the image between two neighbours, in both directions."""


def feature_shapes(
  model: Model, size: int | tuple[int, int] | None = None, *, features: Collection[str] = ()
) -> dict[str, FeatureShape]:
  """The shapes of what `model.apply(..., return_features=names)` returns under these names.

  Nothing is computed.

  Args:
    model: the network.
    size: side of the images, or (height, width), in pixels; the test size by default.
    features: names; by default 'stem', 'stage_0', 'stage_1', ..., 'neck'.  Blocks may be asked for
      too: 'block_0', ...

  Returns:
    name -> shape, in the order in which the network computes them.

  Raises:
    InputError: there is no such feature, or the images are too small.
  """
  there_are = feature_names(model.variant)
  asked = features or [name for name in there_are if not name.startswith('block_')]
  size = model.variant.test_size if size is None else size
  height, width = (size, size) if isinstance(size, int) else size
  image = jax.ShapeDtypeStruct((1, height, width, model.in_channels), jnp.float32)

  def forward(params, state, images):
    return model.apply(params, state, None, images, return_features=asked)[0]

  params, state = model.shapes()
  outputs = jax.eval_shape(forward, params, state, image)
  strides = _strides(model)
  shapes = {name: outputs[name].shape for name in there_are if name in outputs}
  return {
    name: FeatureShape(height, width, channels, strides[name])
    for name, (_, height, width, channels) in shapes.items()
  }


def _strides(model: Model) -> dict[str, int]:
  stride = model.family.stem_stride
  strides = {'stem': stride}
  for place in model.family.places(model.variant):
    stride *= place.stride
    strides[f'block_{place.index}'] = strides[f'stage_{place.stage}'] = stride
  return strides | {'neck': stride}
