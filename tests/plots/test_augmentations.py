"""Rows of pictures: every picture is drawn, each in its place."""

import numpy as np
import pytest
from PIL import Image

from nfnets.plots.augmentations import Row, plot_rows

# Colours that no text has, and that no resampling changes.
COLOURS = [(200, 30, 60), (30, 200, 60), (60, 30, 200), (200, 200, 30), (30, 200, 200)]


def plain(colour: tuple[int, int, int]) -> np.ndarray:
  return np.full((8, 8, 3), colour, np.uint8)


def places(path, colour: tuple[int, int, int]) -> np.ndarray:
  """[n, 2] rows and columns of the pixels of a colour."""
  with Image.open(path) as picture:
    assert picture.format == 'PNG'
    return np.argwhere(np.all(np.asarray(picture.convert('RGB')) == colour, axis=-1))


@pytest.fixture
def picture(tmp_path):
  a, b, c, d, e = map(plain, COLOURS)
  rows = [
    Row('first', [a, b], ['1', '2']),
    Row('second', [c], ['']),
    Row('third', [d, e], ['', '']),
  ]
  path = tmp_path / 'rows.png'
  assert plot_rows(rows, path, columns=2, note='a note') == path
  return path


def test_every_picture_has_its_place(picture):
  a, b, c, d, e = (places(picture, colour).mean(axis=0) for colour in COLOURS)
  for left, right in ((a, b), (d, e)):
    assert left[0] == pytest.approx(right[0], abs=1)
    assert left[1] < right[1] - 100
  assert c[0] > a[0] + 100  # below
  assert c[1] == pytest.approx(a[1], abs=1)
  assert d[0] == pytest.approx(a[0], abs=1)  # in the next column
  assert d[1] > b[1] + 100


def test_all_pictures_are_equally_large_and_whole(picture):
  sizes = [np.ptp(places(picture, colour), axis=0) for colour in COLOURS]
  assert np.ptp(sizes) <= 2
  assert np.min(sizes) > 100


def test_rows_and_note_are_named(tmp_path, picture):
  bare = plot_rows([Row('', [plain(COLOURS[0])], [''])], tmp_path / 'bare.png', columns=1)
  assert len(places(bare, (0, 0, 0))) == 0
  assert len(places(picture, (0, 0, 0))) > 100
