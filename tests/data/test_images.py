import io
from collections.abc import Callable

import numpy as np
import pytest
from data.pictures import encode, photograph
from PIL import Image

from nfnets.data import crops, images
from nfnets.errors import InputError

SCALES = [lambda value, part=part: part * value // 4 for part in (4, 3, 2, 1)]


def with_alpha(image: Image.Image) -> Image.Image:
  image = image.copy()
  image.putalpha(Image.linear_gradient('L').resize(image.size))
  return image


def sixteen_bits(image: Image.Image) -> Image.Image:
  grey = np.asarray(image.convert('L')).astype(np.uint16)
  return Image.fromarray(grey * 256 + 255 - grey)


# How a picture is stored -> the RGB that must come out.
PNG: dict[
  str, tuple[Callable[[Image.Image], Image.Image], Callable[[Image.Image], Image.Image]]
] = {
  'RGB': (lambda image: image, lambda image: image),
  'grey': (lambda image: image.convert('L'), lambda image: image.convert('L')),
  '1 bit': (lambda image: image.convert('1'), lambda image: image.convert('1')),
  '16 bits': (sixteen_bits, lambda image: image.convert('L')),
  'alpha': (with_alpha, lambda image: image),
  'grey and alpha': (
    lambda image: with_alpha(image.convert('L')),
    lambda image: image.convert('L'),
  ),
  'palette': (lambda image: image.quantize(256), lambda image: image.quantize(256)),
}


@pytest.mark.parametrize('kind', PNG)
def test_every_png_becomes_rgb(kind: str):
  store, wanted = PNG[kind]
  decoded = images.decode(encode(store(photograph(75, 100)), 'PNG'))
  assert decoded.dtype == np.uint8
  np.testing.assert_array_equal(decoded, np.asarray(wanted(photograph(75, 100)).convert('RGB')))


def test_a_transparent_palette_and_a_16_bit_tiff_become_rgb():
  image = photograph(75, 100)
  palette = image.quantize(256)
  decoded = images.decode(encode(palette, 'PNG', transparency=0))
  np.testing.assert_array_equal(decoded, np.asarray(palette.convert('RGB')))
  tiff = images.decode(encode(sixteen_bits(image), 'TIFF'))
  np.testing.assert_array_equal(tiff, np.asarray(image.convert('L').convert('RGB')))


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
@pytest.mark.parametrize('progressive', [False, True])
def test_every_jpeg_becomes_rgb(mode: str, progressive: bool):
  image = photograph(75, 100).convert(mode)
  decoded = images.decode(encode(image, 'JPEG', quality=95, progressive=progressive))
  assert decoded.dtype == np.uint8
  assert decoded.shape == (75, 100, 3)
  assert np.abs(decoded.astype(int) - np.asarray(image.convert('RGB'))).mean() < 2


def test_a_cmyk_jpeg_is_taken_as_adobe_writes_it():
  # Ink inverted, as Adobe's programs store it: white paper is 255 in all four channels.
  data = encode(Image.new('CMYK', (16, 16), (0, 0, 0, 0)), 'JPEG')
  assert b'Adobe' in data
  assert images.decode(data).min() == 255


def test_a_cmyk_jpeg_of_other_programs_holds_the_ink_itself():
  inks = Image.merge('CMYK', [photograph(75, 100).getchannel(0).point(scale) for scale in SCALES])
  data = encode(inks, 'JPEG', quality=100, subsampling=0)
  plain = data.replace(b'\xff\xee\x00\x0eAdobe', b'\xff\xee\x00\x0eOther')
  assert plain != data
  # The same numbers, once as what an ink leaves white and once as the ink.
  stored = 255 - np.asarray(inks).astype(int)
  for one, white in ((data, stored), (plain, 255 - stored)):
    difference = images.decode(one) - white[:, :, :3] * white[:, :, 3:] // 255
    assert np.abs(difference).mean() < 1


def test_orientation_is_ignored():
  upright = photograph(75, 100)
  turned = Image.Exif()
  turned[0x0112] = 6
  for kind in ('JPEG', 'PNG'):
    assert images.decode(encode(upright, kind, exif=turned)).shape == (75, 100, 3)


def test_jpeg_is_decoded_with_the_fast_transform():
  """TensorFlow's default, which is not the accurate one that Pillow uses."""
  rng = np.random.default_rng(0)
  data = encode(Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)), 'JPEG', quality=95)
  accurate = np.asarray(Image.open(io.BytesIO(data)).convert('RGB')).astype(int)
  difference = np.abs(images.decode(data) - accurate)
  assert 0 < difference.max() <= 12


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_the_end_mark_alone_may_be_missing_or_followed_by_rubbish(kind: str):
  data = encode(photograph(75, 100), kind)
  whole = images.decode(data)
  end = {'JPEG': 2, 'PNG': 12}[kind]
  np.testing.assert_array_equal(images.decode(data[:-end]), whole)
  np.testing.assert_array_equal(images.decode(data + b'rubbish'), whole)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'BMP'])
@pytest.mark.parametrize('keep', [0, 1, 3, 12, 60, 0.5, 0.9])
def test_a_part_of_an_image_is_refused(kind: str, keep: float):
  data = encode(photograph(75, 100), kind)
  part = data[: keep if isinstance(keep, int) else int(keep * len(data))]
  with pytest.raises(images.UnreadableImage, match=f'these {len(part)} bytes') as caught:
    images.decode(part)
  assert isinstance(caught.value, InputError)
  assert '\n' not in str(caught.value)


def test_rubbish_is_refused():
  rng = np.random.default_rng(0)
  for start in (b'', b'\xff\xd8\xff\xe0', b'\x89PNG\r\n\x1a\n', b'GIF89a'):
    with pytest.raises(images.UnreadableImage):
      images.decode(start + rng.bytes(500))


def test_an_image_of_the_right_size_is_only_cut_to_its_centre():
  image = np.asarray(photograph(40, 40))
  geometry = images.EvalGeometry(size=32, margin=8)
  np.testing.assert_array_equal(images.eval_image(image, geometry), image[4:36, 4:36])
  squashed = images.eval_image(np.asarray(photograph(75, 100)), geometry)
  assert squashed.shape == (32, 32, 3)
  assert squashed.dtype == np.float32


@pytest.mark.parametrize(
  ('height', 'width', 'squash', 'resized'),
  [
    (75, 100, False, (35, 46)),  # 35 * 100 / 75 = 46.67: cut off, not rounded
    (100, 75, False, (46, 35)),
    (75, 100, True, (35, 35)),
    (20, 20, False, (35, 35)),
    (35, 36, False, (35, 36)),
  ],
)
def test_a_crop_is_the_centre_of_the_antialiased_image(
  height: int, width: int, squash: bool, resized: tuple[int, int]
):
  image = photograph(height, width)
  geometry = images.CropGeometry(size=32, fraction=0.9, squash=squash)  # 32 / 0.9 = 35.6
  found = images.eval_image(np.asarray(image), geometry)
  assert found.dtype == np.float32
  whole = np.asarray(image.resize(resized[::-1], Image.Resampling.BICUBIC))
  top, left = (round((side - 32) / 2) for side in resized)
  np.testing.assert_array_equal(found, whole[top : top + 32, left : left + 32])


@pytest.mark.parametrize('fraction', [0.0, 1.01, float('nan')])
def test_a_crop_of_more_than_the_image_is_refused(fraction: float):
  with pytest.raises(InputError, match='fraction='):
    images.CropGeometry(size=32, fraction=fraction)


def keys(distance: float) -> float:
  """Keys' cubic kernel, a = -1/2, written out as in his paper (1981, equation 15)."""
  s = abs(distance)
  if s < 1:
    return 1.5 * s**3 - 2.5 * s**2 + 1
  return -0.5 * s**3 + 2.5 * s**2 - 4 * s + 2 if s < 2 else 0.0


@pytest.mark.parametrize(('source', 'whole'), [(5, 12), (30, 12), (12, 13), (1, 12), (2, 12)])
def test_bicubic_is_keys_kernel_renormalized_at_the_border(source: int, whole: int):
  column = np.random.default_rng(0).integers(0, 256, (source, whole, 3)).astype(np.uint8)
  found = images.eval_image(column, images.EvalGeometry(size=whole - 4, margin=4))
  for row in range(whole - 4):
    centre = (row + 2 + 0.5) * source / whole - 0.5
    weights = np.array([keys(centre - place) for place in range(source)])
    wanted = np.tensordot(weights / weights.sum(), column.astype(float), 1)[2:-2]
    # TensorFlow rounds the place between pixels to 1/1024, and so do we.
    np.testing.assert_allclose(found[row], wanted, atol=0.5)


def test_bicubic_overshoots_and_is_not_clamped():
  edge = np.zeros((20, 20, 3), np.uint8)
  edge[:, 10:] = 255
  result = images.eval_image(edge, images.EvalGeometry(size=40, margin=0))
  assert result.min() < -10
  assert result.max() > 265


# tf.image.resize(..., (5, 5), 'bicubic') of the ramp below, by TensorFlow 2.21.
RAMP = (np.arange(7)[:, None] * 10 + np.arange(6)[None] ** 2).astype(np.uint8)
TENSORFLOW = (
  (1.3280468, 2.9691925, 7.5297, 14.971146, 25.75871),
  (16.04444, 17.685587, 22.246094, 29.687542, 40.475105),
  (30.048347, 31.689493, 36.25, 43.691444, 54.47901),
  (44.05225, 45.693394, 50.2539, 57.695347, 68.48291),
  (58.768646, 60.409786, 64.97029, 72.41174, 83.1993),
)


def test_bicubic_equals_tensorflow():
  image = np.repeat(RAMP[:, :, None], 3, axis=2)
  found = images.eval_image(image, images.EvalGeometry(size=5, margin=0))
  np.testing.assert_allclose(found[:, :, 1], TENSORFLOW, atol=1e-4)


def train_crops(geometry: images.TrainGeometry, count: int = 400) -> np.ndarray:
  """Crops of a picture whose red is the row and whose green is the column."""
  picture = np.zeros((100, 150, 3), np.uint8)
  picture[..., 0], picture[..., 1] = np.mgrid[0:100, 0:150]
  rng = np.random.default_rng(0)
  return np.stack([images.train_image(picture, geometry, rng) for _ in range(count)]).astype(int)


def test_crops_keep_their_area_and_aspect_in_range():
  geometry = images.TrainGeometry(size=48, area=(0.2, 0.5), flip=False)
  found = train_crops(geometry)
  height = found[:, -1, 0, 0] - found[:, 0, 0, 0] + 1
  width = found[:, 0, -1, 1] - found[:, 0, 0, 1] + 1
  share = height * width / (100 * 150)
  assert share.min() > 0.17
  assert share.max() < 0.55
  assert np.ptp(share) > 0.2
  assert (width / height).min() > 0.7
  assert (width / height).max() < 1.42
  assert len({*found[:, 0, 0, 0]}) > 20
  assert len({*found[:, 0, 0, 1]}) > 20


def test_crops_that_show_too_little_are_drawn_anew():
  picture = np.zeros((100, 150, 3), np.uint8)
  geometry = images.TrainGeometry(size=8, area=(0.08, 0.12), attempts=100)
  rng = np.random.default_rng(0)
  boxes = [crops.distorted_crop(*picture.shape[:2], geometry, rng) for _ in range(300)]
  assert min(height * width for _, _, height, width in boxes) >= 0.1 * 100 * 150


def test_where_no_crop_fits_the_centre_is_taken():
  picture = np.asarray(photograph(200, 10))  # no crop of 3:4 covers half of it
  geometry = images.TrainGeometry(size=32, area=(0.5, 1.0), flip=False)
  rng = np.random.default_rng(0)
  found = images.train_image(picture, geometry, rng)
  np.testing.assert_array_equal(found, images.train_image(picture, geometry, rng))
  assert crops.distorted_crop(200, 10, geometry, rng) == (98, 3, 5, 5)


@pytest.mark.parametrize('shape', [(1, 1), (1, 50), (50, 1), (2, 3)])
@pytest.mark.parametrize('padding', [None, 2])
def test_the_smallest_images_can_be_trained_on(shape: tuple[int, int], padding: int | None):
  rng = np.random.default_rng(0)
  picture = np.full((*shape, 3), 77, np.uint8)
  geometry = images.TrainGeometry(size=16, padding=padding)
  for _ in range(20):
    found = images.train_image(picture, geometry, rng)
    assert found.shape == (16, 16, 3)
    assert found[8, 8].tolist() == [77, 77, 77]


def test_padded_crops_take_every_place_and_pad_with_zeros():
  picture = np.arange(1, 17, dtype=np.uint8).reshape(4, 4, 1).repeat(3, axis=2)
  geometry = images.TrainGeometry(size=4, padding=1, flip=False)
  rng = np.random.default_rng(0)
  found = {images.train_image(picture, geometry, rng)[..., 0].tobytes() for _ in range(200)}
  padded = np.pad(picture[..., 0], 1)
  assert found == {padded[y : y + 4, x : x + 4].tobytes() for y in range(3) for x in range(3)}


def test_half_of_the_images_are_mirrored_and_none_if_not_asked():
  picture = np.arange(16, dtype=np.uint8).reshape(1, 16, 1).repeat(16, axis=0).repeat(3, axis=2)
  rng = np.random.default_rng(0)

  def mirrored(flip: bool) -> float:
    geometry = images.TrainGeometry(size=16, padding=0, flip=flip)
    found = [images.train_image(picture, geometry, rng) for _ in range(400)]
    assert all(image[0, 0, 0] in (0, 15) for image in found)
    return np.mean([image[0, 0, 0] == 15 for image in found])

  assert 0.4 < mirrored(True) < 0.6
  assert mirrored(False) == 0


def test_the_same_generator_gives_the_same_crop():
  picture = np.asarray(photograph(75, 100))
  geometry = images.TrainGeometry(size=24)
  first, second = (
    images.train_image(picture, geometry, np.random.default_rng(7)) for _ in range(2)
  )
  np.testing.assert_array_equal(first, second)
