import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from data.pictures import encode, photograph
from PIL import Image, ImageOps

from nfnets.data import images
from nfnets.data.photos import MAX_PIXELS, is_turned, read_photo

PHOTOS = Path(__file__).parent / 'photos'


def png(pixels: np.ndarray, *, colour_type: int) -> bytes:
  """A PNG of 16 bits a channel, of which Pillow writes only grey ones."""

  def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

  height, width = pixels.shape[:2]
  rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
  header = struct.pack('>IIBBBBB', width, height, 16, colour_type, 0, 0, 0)
  return b'\x89PNG\r\n\x1a\n' + b''.join(
    chunk(*one) for one in ((b'IHDR', header), (b'IDAT', zlib.compress(rows)), (b'IEND', b''))
  )


def turned(orientation: int) -> Image.Exif:
  exif = Image.Exif()
  exif[0x0112] = orientation
  return exif


def same(data: bytes, wanted: Image.Image) -> None:
  pixels = read_photo(data)
  assert pixels.dtype == np.uint8
  assert pixels.flags.c_contiguous
  np.testing.assert_array_equal(pixels, np.asarray(wanted.convert('RGB')))


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
@pytest.mark.parametrize('options', [{}, {'progressive': True}, {'exif': turned(1)}])
def test_an_ordinary_jpeg_is_what_evaluation_decodes(mode: str, options: dict):
  data = encode(photograph().convert(mode), 'JPEG', **options)
  np.testing.assert_array_equal(read_photo(data), images.decode(data))


@pytest.mark.parametrize('mode', ['RGB', 'L', '1', 'P'])
@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'BMP', 'GIF'])
def test_so_is_an_ordinary_picture_of_another_kind(mode: str, kind: str):
  image = photograph().quantize(256) if mode == 'P' else photograph().convert(mode)
  data = encode(image, kind)
  np.testing.assert_array_equal(read_photo(data), images.decode(data))
  if (mode, kind) != ('RGB', 'GIF'):  # it has 256 colours
    same(data, image)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_a_photo_stands_upright(kind: str, orientation: int):
  options = {'lossless': True} if kind == 'WEBP' else {}
  stored = photograph()
  data = encode(stored, kind, exif=turned(orientation), **options)
  if kind == 'JPEG':
    stored = Image.fromarray(images.decode(data))
  stored.getexif()[0x0112] = orientation
  same(data, ImageOps.exif_transpose(stored))


@pytest.mark.parametrize('orientation', range(3, 9))
def test_photos_of_one_scene_agree_however_the_camera_was_held(orientation: int):
  one, other = (
    read_photo((PHOTOS / f'hopper_orientation_{which}.jpg').read_bytes()).astype(int)
    for which in (2, orientation)
  )
  assert np.abs(one - other).mean() < 4


@pytest.mark.parametrize('orientation', [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int):
  same(encode(photograph(), 'PNG', exif=turned(orientation)), photograph())


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_what_is_turned_can_be_told(kind: str):
  assert [
    is_turned(encode(photograph(), kind, exif=turned(orientation))) for orientation in range(10)
  ] == [False, False, *[True] * 7, False]
  assert not is_turned(encode(photograph(), kind))
  assert not is_turned(b'no picture')


def test_damaged_exif_data_turn_nothing():
  exif = turned(6).tobytes()
  data = encode(photograph(), 'JPEG', exif=exif[:10] + b'\xff' * 8)
  np.testing.assert_array_equal(read_photo(data), images.decode(data))


def test_a_cmyk_jpeg_of_adobe():
  data = (PHOTOS / 'pil_sample_cmyk.jpg').read_bytes()
  photo = read_photo(data)
  np.testing.assert_array_equal(photo, images.decode(data))
  with Image.open(PHOTOS / 'pil_sample_cmyk.jpg') as image:
    accurate = np.asarray(image.convert('RGB')).astype(int)
  assert np.abs(photo - accurate).mean() < 1
  red, green, blue = photo[0, 0]
  assert red > 250 > 50 > max(green, blue)
  assert np.median(photo) < 10  # the paper is black, not white


def test_a_grey_jpeg():
  photo = read_photo((PHOTOS / 'hopper_gray.jpg').read_bytes())
  assert photo.shape == (128, 128, 3)
  assert (photo[..., :1] == photo).all()
  assert photo.std() > 30


HALF = np.uint8([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]])
ON_WHITE = np.uint8([[[200, 100, 0], [255, 255, 255], [244, 224, 204]]])


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'WEBP'])
def test_what_is_transparent_lies_on_white(kind: str):
  options = {'lossless': True, 'exact': True} if kind == 'WEBP' else {}
  data = encode(Image.fromarray(HALF), kind, **options)
  np.testing.assert_array_equal(read_photo(data), ON_WHITE)


def test_grey_with_alpha():
  data = encode(Image.fromarray(np.uint8([[[50, 255], [50, 0]]])), 'PNG')
  np.testing.assert_array_equal(read_photo(data)[..., 0], [[50, 255]])


@pytest.mark.parametrize('kind', ['PNG', 'GIF'])
def test_a_palette_with_a_transparent_colour(kind: str):
  image = Image.fromarray(np.uint8([[0, 1, 2]])).convert('P')
  image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
  photo = read_photo(encode(image, kind, transparency=1))
  np.testing.assert_array_equal(photo, [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]])


def test_a_colour_that_stands_for_transparency():
  data = encode(Image.fromarray(HALF[..., :3]), 'PNG', transparency=(200, 100, 0))
  assert (read_photo(data) == 255).all()


SIXTEEN = np.uint16([[0, 255, 256, 0x80FF, 0xFFFF]])


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'PPM'])
def test_of_16_bits_the_higher_ones_are_taken(kind: str):
  data = encode(Image.fromarray(SIXTEEN), kind)
  np.testing.assert_array_equal(read_photo(data)[..., 1], SIXTEEN >> 8)


@pytest.mark.parametrize(('colour_type', 'channels'), [(2, 3), (6, 4), (4, 2)])
def test_16_bits_of_colour_or_alpha(colour_type: int, channels: int):
  pixels = np.repeat(SIXTEEN[..., None], channels, axis=-1)
  pixels[..., 0] = SIXTEEN[:, ::-1]
  if channels in (2, 4):
    pixels[..., -1] = 0xFFFF
  wanted = np.broadcast_to(pixels[..., : 1 if channels == 2 else 3] >> 8, (1, 5, 3))
  np.testing.assert_array_equal(read_photo(png(pixels, colour_type=colour_type)), wanted)


@pytest.mark.parametrize(
  ('values', 'wanted'),
  [([0, 0.5, 1], [0, 128, 255]), ([-1, np.nan, 0.25], [0, 0, 64]), ([0, 99.6, 300], [0, 100, 255])],
)
def test_floats(values: list[float], wanted: list[int]):
  data = encode(Image.fromarray(np.float32([values])), 'TIFF')
  np.testing.assert_array_equal(read_photo(data), np.repeat(np.uint8([wanted])[..., None], 3, -1))


@pytest.mark.parametrize('kind', ['GIF', 'PNG', 'WEBP', 'TIFF'])
def test_of_an_animation_the_first_frame_is_taken(kind: str):
  options = {'lossless': True} if kind == 'WEBP' else {}
  frames = [Image.new('RGB', (4, 3), colour) for colour in ('red', 'blue')]
  data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
  same(data, frames[0])


def test_a_colour_profile_is_left_alone():
  data = encode(photograph(), 'PNG', icc_profile=b'no profile of any use' * 10)
  same(data, photograph())


def bomb(width: int, height: int) -> bytes:
  """A PNG that claims a size and holds nothing."""
  one = encode(Image.new('L', (1, 1)), 'PNG')
  header = b'IHDR' + struct.pack('>II', width, height) + one[24:29]
  return one[:12] + header + struct.pack('>I', zlib.crc32(header)) + one[33:]


def test_more_pixels_than_any_camera_has_are_refused_unread():
  with pytest.raises(images.UnreadableImage, match=r'^20000 x 10001 pixels are more than') as told:
    read_photo(bomb(20000, 10001))
  assert f'{MAX_PIXELS:,}' in str(told.value)


@pytest.mark.parametrize('limit', [1000, 100])
def test_the_limit_of_pillow_is_not_ours(monkeypatch: pytest.MonkeyPatch, limit: int):
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)  # beyond it a warning, or an error
  same(encode(photograph(), 'PNG'), photograph())
  assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF'])
@pytest.mark.parametrize('keep', [1, 3, 12, 60, 0.5, 0.9])
def test_a_part_of_a_picture_is_refused_in_one_line(kind: str, keep: float):
  data = encode(photograph(75, 100), kind)
  part = data[: keep if isinstance(keep, int) else int(keep * len(data))]
  with pytest.raises(images.UnreadableImage, match=f'these {len(part)} bytes|known format') as told:
    read_photo(part)
  assert '\n' not in str(told.value)


def test_of_a_torn_photo_only_the_end_mark_may_be_missing():
  data = (PHOTOS / 'truncated_jpeg.jpg').read_bytes()
  assert data.endswith(b'\xff')  # of the mark's two bytes the first
  same(data, Image.fromarray(read_photo(data + b'\xd9')))
  with pytest.raises(images.UnreadableImage, match='no whole image in these 6000 bytes'):
    read_photo(data[:6000])


def test_rubbish_between_the_parts_of_a_jpeg_does_no_harm():
  data = encode(photograph(), 'JPEG')
  tables = data.index(b'\xff\xdb')
  rubbish = data[:tables] + b'12345' + data[tables:]
  with pytest.raises(images.UnreadableImage, match='extraneous bytes'):
    images.decode(rubbish)
  assert np.abs(read_photo(rubbish).astype(int) - read_photo(data)).max() <= 12
  with pytest.raises(images.UnreadableImage):
    read_photo(rubbish[:-40])


@pytest.mark.parametrize(
  ('data', 'told'),
  [
    (b'', 'the file is empty'),
    (b'milk, eggs, bread\n', 'no picture of a known format: the 18 bytes begin 6d696c6b'),
    (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'no picture of a known format'),
  ],
  ids=['nothing', 'text', 'a program'],
)
def test_what_is_no_picture(data: bytes, told: str):
  with pytest.raises(images.UnreadableImage, match=told):
    read_photo(data)


def test_threads_do_not_disturb_each_other():
  datas = [encode(photograph(), kind) for kind in ('JPEG', 'PNG', 'BMP', 'TIFF')] * 8
  alone = [read_photo(data) for data in datas]
  together: list[np.ndarray | None] = [None] * len(datas)

  def work(i: int) -> None:
    together[i] = read_photo(datas[i])

  threads = [threading.Thread(target=work, args=(i,)) for i in range(len(datas))]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  for one, other in zip(alone, together, strict=True):
    np.testing.assert_array_equal(one, other)
