"""Pictures that tests store and read again."""

import io

import numpy as np
from PIL import Image


def photograph(height: int = 30, width: int = 44) -> Image.Image:
  """A smooth picture without symmetry whose three channels differ."""
  rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
  planes = [255 * rows, 255 * columns, 127 + 100 * np.sin(6 * rows * columns)]
  return Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()
