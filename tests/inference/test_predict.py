import dataclasses
import io
import threading
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from inference.networks import LinearModel, Network, Outputs, linear_network
from PIL import Image

from nfnets.data.images import decode, eval_image
from nfnets.errors import InputError
from nfnets.inference.inputs import Photo
from nfnets.inference.predict import Prediction, predict

NETWORK = linear_network()


def jpeg(seed: int, size: tuple[int, int] = (20, 31)) -> bytes:
  pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).resize(size).save(file, 'JPEG')
  return file.getvalue()


def album(*datas: bytes) -> list[Photo]:
  return [Photo(f'{i}.jpg', lambda data=data: data) for i, data in enumerate(datas)]


def by_hand(network: Network, data: bytes) -> np.ndarray:
  """Probabilities of one photograph, without any of the code under test."""
  pixels = eval_image(decode(data), network.geometry)
  inputs = (pixels - np.float32(network.mean)) / np.float32(network.std)
  apply = jax.jit(network.model.apply)
  outputs, _ = apply(network.params, network.state, None, inputs[None])
  logits = np.asarray(outputs['logits'][0], np.float64)
  return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


def fail(name: str, message: str) -> None:
  raise AssertionError(f'{name}: {message}')


def ask(photos: Sequence[Photo], network: Network = NETWORK, **options) -> list[Prediction]:
  return list(predict(network, photos, **{'on_error': fail, **options}))


def test_the_most_probable_classes_of_every_photo_in_order():
  datas = [jpeg(seed) for seed in range(5)]
  found = ask(album(*datas), top=3, batch_size=2)
  assert [one.name for one in found] == [f'{i}.jpg' for i in range(5)]
  for one, data in zip(found, datas, strict=True):
    wanted = by_hand(NETWORK, data)
    order = np.argsort(-wanted)[:3]
    assert [each.index for each in one.classes] == order.tolist()
    assert [each.label for each in one.classes] == [None] * 3
    np.testing.assert_allclose(
      [each.probability for each in one.classes], wanted[order], rtol=1e-4, atol=1e-6
    )
  assert len({one.classes for one in found}) == 5


@pytest.mark.parametrize('batch_size', [1, 3, 16])
def test_the_size_of_the_batches_changes_nothing(batch_size: int):
  photos = album(*(jpeg(seed) for seed in range(5)))
  wanted, found = (ask(photos, top=7, batch_size=size) for size in (5, batch_size))
  for one, other in zip(wanted, found, strict=True):
    assert [each.index for each in one.classes] == [each.index for each in other.classes]
    for each, twin in zip(one.classes, other.classes, strict=True):
      assert each.probability == pytest.approx(twin.probability, rel=1e-4, abs=1e-7)
    assert sum(each.probability for each in one.classes) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(('photos', 'images'), [(1, 1), (3, 3), (9, 4)])
def test_all_batches_have_one_shape_and_no_more_images_than_there_are(photos: int, images: int):
  shapes = []

  class Model(LinearModel):
    def apply(self, params: jax.Array, state: dict, rng: None, images: jax.Array) -> Outputs:
      shapes.append(images.shape)  # as often as it is compiled
      return super().apply(params, state, rng, images)

  network = dataclasses.replace(NETWORK, model=Model())
  assert len(ask(album(jpeg(0)) * photos, network, batch_size=4)) == photos
  assert shapes == [(images, 16, 16, 3)]


def test_classes_have_names_and_there_are_no_more_than_the_network_has():
  network = dataclasses.replace(NETWORK, labels=tuple('abcdefg'))
  (one,) = ask(album(jpeg(0)), network, top=100)
  named = sorted((each.index, each.label) for each in one.classes)
  assert named == list(enumerate('abcdefg'))


def test_a_broken_photo_is_told_in_its_turn_and_the_others_go_on():
  heard: list[tuple[str, str] | Prediction] = []
  photos = album(jpeg(0), b'', jpeg(1)[:-40], jpeg(2), b'text')
  photos.append(Photo('gone.jpg', Path('/no/such/file.jpg').read_bytes))
  found = predict(
    NETWORK, photos, batch_size=2, on_error=lambda name, line: heard.append((name, line))
  )
  for one in found:
    heard.append(one)
  names = [one.name if isinstance(one, Prediction) else one[0] for one in heard]
  assert names == ['0.jpg', '1.jpg', '2.jpg', '3.jpg', '4.jpg', 'gone.jpg']
  lines = [one[1] for one in heard if not isinstance(one, Prediction)]
  assert lines[0] == 'the file is empty'
  assert lines[1].startswith('no whole image in these ')
  assert lines[2].startswith('no picture of a known format')
  assert lines[3] == 'cannot be read: No such file or directory'


def test_photos_that_are_all_broken():
  heard: list[str] = []
  photos = album(b'', b'', b'')
  assert ask(photos, batch_size=2, on_error=lambda name, _: heard.append(name)) == []
  assert heard == ['0.jpg', '1.jpg', '2.jpg']


def test_a_network_that_diverged():
  params = jax.tree.map(lambda leaf: leaf * np.nan, NETWORK.params)
  heard: list[str] = []
  network = dataclasses.replace(NETWORK, params=params)
  assert ask(album(jpeg(0)), network, on_error=lambda _, line: heard.append(line)) == []
  assert heard == ['the network gives numbers that are not finite']


@pytest.mark.parametrize('size', [(1, 1), (3, 200)])
def test_photos_of_any_size(size: tuple[int, int]):
  (one,) = ask(album(jpeg(0, size)), top=1)
  assert one.classes[0].probability == pytest.approx(
    by_hand(NETWORK, jpeg(0, size)).max(), rel=1e-4
  )


def test_bfloat16_is_near_float32_and_not_the_same():
  photos = album(jpeg(0))
  exact, near = (
    sorted((each.index, each.probability) for each in one.classes)
    for precision in ('float32', 'bfloat16')
    for one in ask(photos, top=7, precision=precision)
  )
  difference = np.abs(np.array(exact) - np.array(near)).max()
  assert 0 < difference < 0.1
  # Only the activations are rounded, not the probabilities.
  assert sum(share for _, share in near) == pytest.approx(1, abs=1e-5)


def test_a_grey_network_sees_the_luminance():
  grey = linear_network(in_channels=1)
  shares = np.float32([0.299, 0.587, 0.114])
  (one,) = ask(album(jpeg(0)), grey, top=7)
  pixels = eval_image(decode(jpeg(0)), grey.geometry) @ shares
  inputs = (pixels - shares @ np.float32(grey.mean)) / (shares @ np.float32(grey.std))
  outputs, _ = grey.model.apply(grey.params, grey.state, None, inputs[None, ..., None])
  wanted = np.asarray(jax.nn.softmax(outputs['logits'][0]))
  for each in one.classes:
    assert each.probability == pytest.approx(wanted[each.index], rel=1e-3, abs=1e-6)


def test_thumbnails_are_made_on_request():
  photos = album(jpeg(0, (300, 100)), jpeg(1, (20, 30)))
  large, small = ask(photos, thumbnail=60)
  assert large.thumbnail is not None
  assert large.thumbnail.shape == (20, 60, 3)
  assert small.thumbnail is not None
  np.testing.assert_array_equal(small.thumbnail, decode(jpeg(1, (20, 30))))
  assert ask(photos[:1])[0].thumbnail is None


def test_reading_runs_ahead_but_not_without_end():
  """Of many photographs only a few are in memory at a time."""
  read = threading.Semaphore(0)

  def count() -> bytes:
    read.release()
    return data

  data = jpeg(0)
  found = predict(NETWORK, [Photo('a', count)] * 50, batch_size=2, on_error=fail)
  assert not read.acquire(blocking=False)  # nothing yet
  next(found)
  found.close()
  asked = sum(iter(lambda: int(read.acquire(timeout=0.2)), 0))
  assert 2 <= asked <= 2 * 2 + 3


def test_networks_that_classify_no_photos():
  with pytest.raises(InputError, match='in_channels=4'):
    predict(linear_network(in_channels=4), album(jpeg(0)), on_error=fail)
  with pytest.raises(InputError, match='num_classes=0: linear'):
    predict(linear_network(0), album(jpeg(0)), on_error=fail)
