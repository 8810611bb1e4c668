"""How images are cut and normalized for a network."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from nfnets.data.datasets import IMAGENET_MEAN, IMAGENET_STD, RGB
from nfnets.data.images import CropGeometry, EvalGeometry
from nfnets.errors import InputError

_GEOMETRIES = {'reference': EvalGeometry, 'timm': CropGeometry}


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """What is done to an image of any size."""

  geometry: EvalGeometry | CropGeometry
  mean: RGB = IMAGENET_MEAN
  """Of the pixels, on the scale 0..255."""
  std: RGB = IMAGENET_STD

  @property
  def size(self) -> int:
    """Side of what the network sees, in pixels."""
    return self.geometry.size

  def resized(self, size: int | None) -> 'Preprocessing':
    """The same for another size; None for this one."""
    if size is None:
      return self
    if size < 1:
      raise InputError(f'size={size} must be 1 or more, in pixels')
    return dataclasses.replace(self, geometry=dataclasses.replace(self.geometry, size=size))

  def to_json(self) -> dict[str, Any]:
    """As weights files hold it."""
    kind = next(kind for kind, of in _GEOMETRIES.items() if isinstance(self.geometry, of))
    fields = dataclasses.asdict(self.geometry)
    return {'geometry': kind, **fields, 'mean': list(self.mean), 'std': list(self.std)}


def from_json(values: Mapping[str, Any]) -> Preprocessing:
  """What `to_json` wrote.

  Raises:
    InputError: it is something else.
  """
  rest = dict(values)
  try:
    mean, std = (tuple(float(one) for one in rest.pop(name)) for name in ('mean', 'std'))
    geometry = _GEOMETRIES[rest.pop('geometry')](**rest)
    if len(mean) != 3 or len(std) != 3 or not all(std) or type(geometry.size) is not int:
      raise ValueError('mean, std and size must be three numbers, three, and one')
  except (KeyError, TypeError, ValueError) as error:
    raise InputError(f'preprocessing={dict(values)!r} cannot be used: {error!r}') from error
  return Preprocessing(geometry, mean, std)
