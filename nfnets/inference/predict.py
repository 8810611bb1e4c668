"""What a network sees in photographs: the most probable classes of each."""

import collections
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from nfnets.augment.normalize import normalize
from nfnets.data.images import CropGeometry, EvalGeometry, UnreadableImage, eval_image
from nfnets.data.photos import read_photo
from nfnets.errors import InputError
from nfnets.inference.inputs import Photo
from nfnets.inference.network import Network
from nfnets.models.zoo import Params, State


@dataclasses.dataclass(frozen=True)
class Class:
  """A class of the network."""

  index: int
  label: str | None
  """None where the classes have no names."""
  probability: float


@dataclasses.dataclass(frozen=True)
class Prediction:
  """What the network says of one photograph."""

  name: str
  classes: tuple[Class, ...]
  """The most probable first."""
  thumbnail: np.ndarray | None = None
  """The photograph made small, uint8 [H, W, 3], where it was asked for."""


@dataclasses.dataclass(frozen=True)
class _Prepared:
  """A photograph on its way through the network: an image, or why there is none."""

  name: str
  image: np.ndarray | None = None
  thumbnail: np.ndarray | None = None
  error: str = ''


def predict(
  network: Network,
  photos: Sequence[Photo],
  *,
  top: int = 5,
  batch_size: int = 16,
  precision: str = 'float32',
  thumbnail: int | None = None,
  on_error: Callable[[str, str], None],
) -> Iterator[Prediction]:
  """The `top` most probable classes of every photograph, in the order of the photographs.

  Photographs are read and resized in threads, ahead of the network; all batches have one shape.
  A network of one channel is given the luminance.

  Args:
    network: what to ask.
    photos: what to ask it about.
    top: how many classes; all where the network has fewer.
    batch_size: photographs at a time.
    precision: of the activations, 'float32' or 'bfloat16'; probabilities are always float32.
    thumbnail: longest side of the thumbnails in pixels; None for none.
    on_error: called, in its turn, with the name of a photograph that has no prediction and why in
      one line; the others go on.

  Raises:
    InputError: the network is none that classifies photographs.
  """
  if network.model.in_channels not in (1, 3):
    raise InputError(f'in_channels={network.model.in_channels}: a photo has 3, or 1 where grey')
  if network.model.num_classes < 1:
    raise InputError(f'num_classes=0: {network.model.name} without a classifier predicts nothing')
  batch_size = min(batch_size, max(1, len(photos)))
  probabilities = _classifier(network, precision)

  def results() -> Iterator[Prediction]:
    prepared = _prepared(photos, network.geometry, thumbnail, ahead=2 * batch_size)
    for batch in _batches(prepared, batch_size):
      images = [one.image for one in batch if one.image is not None]
      rows = iter(probabilities(_padded(images, batch_size)) if images else ())
      for one in batch:
        row = None if one.image is None else next(rows)
        error = one.error if row is None else _wrong(row)
        if row is None or error:
          on_error(one.name, error)
        else:
          yield Prediction(one.name, _top(row, top, network.labels), one.thumbnail)

  return results()


def _classifier(network: Network, precision: str) -> Callable[[np.ndarray], np.ndarray]:
  """The compiled network: float32 [N, S, S, 3] pixels to float32 [N, classes] probabilities."""
  grey = network.model.in_channels == 1

  @jax.jit
  def probabilities(params: Params, state: State, images: jax.Array) -> jax.Array:
    inputs = normalize(images, network.mean, network.std, precision, grey=grey)
    outputs, _ = network.model.apply(params, state, None, inputs)
    return jax.nn.softmax(outputs['logits'].astype(jnp.float32))

  params, state = jax.device_put((network.params, network.state))
  return lambda images: np.asarray(probabilities(params, state, images))


def _prepared(
  photos: Iterable[Photo],
  geometry: EvalGeometry | CropGeometry,
  thumbnail: int | None,
  *,
  ahead: int,
) -> Iterator[_Prepared]:
  """Every photograph, in order, while up to `ahead` more are being prepared."""
  pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix='photos')
  waiting: collections.deque[Future[_Prepared]] = collections.deque()
  try:
    for photo in photos:
      waiting.append(pool.submit(_prepare, photo, geometry, thumbnail))
      if len(waiting) > ahead:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()
  finally:
    pool.shutdown(wait=False, cancel_futures=True)


def _prepare(
  photo: Photo, geometry: EvalGeometry | CropGeometry, thumbnail: int | None
) -> _Prepared:
  try:
    pixels = read_photo(photo.read())
  except UnreadableImage as error:
    return _Prepared(photo.name, error=str(error))
  except OSError as error:
    return _Prepared(photo.name, error=f'cannot be read: {error.strerror or error}')
  small = None if thumbnail is None else _shrunk(pixels, thumbnail)
  return _Prepared(photo.name, eval_image(pixels, geometry), small)


def _shrunk(pixels: np.ndarray, longest: int) -> np.ndarray:
  image = Image.fromarray(pixels)
  image.thumbnail((longest, longest))
  return np.asarray(image)


def _batches(prepared: Iterable[_Prepared], size: int) -> Iterator[list[_Prepared]]:
  """Cut behind every `size` images; what could not be read stays in its place between them."""
  batch: list[_Prepared] = []
  images = 0
  for one in prepared:
    batch.append(one)
    images += one.image is not None
    if images == size:
      yield batch
      batch, images = [], 0
  if batch:
    yield batch


def _padded(images: Sequence[np.ndarray], size: int) -> np.ndarray:
  """[size, S, S, 3]: the last image is repeated where there are too few."""
  return np.stack([*images, *itertools.repeat(images[-1], size - len(images))])


def _wrong(probabilities: np.ndarray) -> str:
  return '' if np.isfinite(probabilities).all() else 'the network gives numbers that are not finite'


def _top(
  probabilities: np.ndarray, count: int, labels: tuple[str, ...] | None
) -> tuple[Class, ...]:
  order = np.argsort(-probabilities, kind='stable')[:count]
  return tuple(
    Class(int(index), labels[index] if labels else None, float(probabilities[index]))
    for index in order
  )
