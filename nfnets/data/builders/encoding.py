"""Pixels as files, since TFDS would need TensorFlow to encode."""

import io

import numpy as np
from PIL import Image


def png(pixels: np.ndarray) -> io.BytesIO:
  """A PNG of uint8 [H, W] or [H, W, 3], as TFDS's image features take it."""
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, 'PNG')
  file.seek(0)
  return file
