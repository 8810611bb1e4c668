"""RandAugment's operations by Pillow, or by whole numbers where Pillow leaves ties to chance."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

GREY = 128

# Magnitude -> what each operation is given.
STRENGTHS = {
  5: {
    'Posterize': 2, 'Solarize': 128, 'SolarizeAdd': 55, 'Color': 1.0, 'Contrast': 1.0,
    'Brightness': 1.0, 'Sharpness': 1.0, 'Rotate': 15.0, 'ShearX': 15, 'ShearY': 15,
    'TranslateX': 50, 'TranslateY': 50, 'Cutout': 20,
  },
  15: {
    'Posterize': 6, 'Solarize': 384, 'SolarizeAdd': 165, 'Color': 2.8, 'Contrast': 2.8,
    'Brightness': 2.8, 'Sharpness': 2.8, 'Rotate': 45.0, 'ShearX': 45, 'ShearY': 45,
    'TranslateX': 150, 'TranslateY': 150, 'Cutout': 60,
  },
  1: {
    'Posterize': 0, 'Solarize': 25, 'SolarizeAdd': 11, 'Color': 0.28, 'Contrast': 0.28,
    'Brightness': 0.28, 'Sharpness': 0.28, 'Rotate': 3.0, 'ShearX': 3, 'ShearY': 3,
    'TranslateX': 10, 'TranslateY': 10, 'Cutout': 4,
  },
}  # fmt: skip
"""Shears are hundredths of a pixel for each row or column."""


def apply(
  name: str, pixels: np.ndarray, magnitude: int, sign: int, centre: tuple[int, int]
) -> np.ndarray:
  """An operation on one image, uint8 [H, W, 3]; the sign is -1 or 1."""
  strength = STRENGTHS[magnitude].get(name, 0)
  image = Image.fromarray(pixels)
  match name:
    case 'AutoContrast':
      return np.asarray(ImageOps.autocontrast(image))
    case 'Equalize':
      return np.asarray(ImageOps.equalize(image))
    case 'Invert':
      return np.asarray(ImageOps.invert(image))
    case 'Posterize' if strength == 0:
      return np.zeros_like(pixels)
    case 'Posterize':
      return np.asarray(ImageOps.posterize(image, strength))
    case 'Solarize':
      return np.asarray(ImageOps.solarize(image, strength))
    case 'SolarizeAdd':
      added = np.minimum(pixels.astype(int) + strength, 255).astype(np.uint8)
      return np.where(pixels < 128, added, pixels)
    case 'Color' | 'Contrast' | 'Brightness' | 'Sharpness':
      return np.asarray(getattr(ImageEnhance, name)(image).enhance(strength))
    case 'Rotate':
      return np.asarray(image.rotate(sign * strength, fillcolor=(GREY,) * 3))
    case 'ShearX':
      return fetch(pixels, lambda x, y: ((100 * x + sign * strength * y + 50) // 100, y))
    case 'ShearY':
      return fetch(pixels, lambda x, y: (x, (100 * y + sign * strength * x + 50) // 100))
    case 'TranslateX':
      return fetch(pixels, lambda x, y: (x + sign * strength, y))
    case 'TranslateY':
      return fetch(pixels, lambda x, y: (x, y + sign * strength))
    case 'Cutout':
      row, column = centre
      covered = pixels.copy()
      rows = slice(max(0, row - strength), row + strength)
      covered[rows, max(0, column - strength) : column + strength] = GREY
      return covered
  raise AssertionError(name)


def fetch(pixels, place) -> np.ndarray:
  """Every pixel from its place, one by one."""
  height, width, _ = pixels.shape
  result = np.full_like(pixels, GREY)
  for y in range(height):
    for x in range(width):
      from_x, from_y = place(x, y)
      if 0 <= from_x < width and 0 <= from_y < height:
        result[y, x] = pixels[from_y, from_x]
  return result
