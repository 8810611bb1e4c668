"""Pictures of predictions: every photograph is seen, and its bars are as long as they should be."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfnets.plots.predictions import Card, plot_predictions

RED = np.full((40, 60, 3), (255, 0, 0), np.uint8)
FIRST, OTHERS, EMPTY = (127, 184, 217), (207, 227, 240), (244, 244, 244)
BARS = (('', 0.5), ('', 0.25), ('', 0.0))


def drawn(folder: Path, *cards: Card) -> np.ndarray:
  path = folder / 'picture.png'
  assert plot_predictions(cards, path) == path
  with Image.open(path) as picture:
    assert picture.format == 'PNG'
    return np.asarray(picture.convert('RGB')).astype(int)


def mask(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
  return np.all(picture == colour, axis=-1)


def box(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[slice, slice]:
  """Rows and columns that an area of a colour takes; the edges of letters are no area."""
  area = mask(picture, colour)
  rows, columns = (np.nonzero(area.sum(axis) > 9)[0] for axis in (1, 0))
  return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


def extent(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int]:
  """Height and width of that area."""
  rows, columns = box(picture, colour)
  return rows.stop - rows.start, columns.stop - columns.start


def test_a_photo_with_its_bars(tmp_path: Path):
  picture = drawn(tmp_path, Card('', RED, BARS))
  height, width = extent(picture, (255, 0, 0))
  assert width / height == pytest.approx(60 / 40, rel=0.02)
  assert width > 400
  _, whole = extent(picture, EMPTY)  # of the bar for 0, which is the longest that is grey
  assert extent(picture, FIRST)[1] == pytest.approx(0.5 * whole, abs=2)
  assert extent(picture, OTHERS)[1] == pytest.approx(0.25 * whole, abs=2)
  photo, first = box(picture, (255, 0, 0)), box(picture, FIRST)
  assert first[1].start > photo[1].stop
  assert first[0].start == pytest.approx(photo[0].start, abs=2)


@pytest.mark.parametrize(('number', 'columns', 'rows'), [(2, 2, 1), (9, 3, 3)])
def test_several_photos_stand_in_rows(tmp_path: Path, number: int, columns: int, rows: int):
  colours = [(255, 20 * i, 0) for i in range(number)]
  photos = [np.full((50, 50, 3), colour, np.uint8) for colour in colours]
  picture = drawn(tmp_path, *(Card('', photo, BARS) for photo in photos))
  assert picture.shape == (rows * 330 + 15, columns * 795 + 15, 3)
  corners = [[places.min() for places in np.nonzero(mask(picture, one))] for one in colours]
  assert corners == sorted(corners)
  assert len({left for _, left in corners}) == columns
  assert extent(picture, (255, 0, 0))[0] == pytest.approx(255, abs=2)


@pytest.mark.parametrize(
  ('title', 'label'),
  [('$x', '$y$ $'), ('写真.jpg', 'chat\nnoir'), ('a' * 300, 'b' * 300), ('\\frac', '_^{')],
)
def test_names_are_shown_as_they_are_and_stay_in_their_place(
  tmp_path: Path, title: str, label: str
):
  plain = drawn(tmp_path, Card('', RED, [('', 0.0)]))
  differ = (plain != drawn(tmp_path, Card(title, RED, [(label, 0.0)]))).any(axis=-1)
  photo, bar = box(plain, (255, 0, 0)), box(plain, EMPTY)
  assert differ[bar].any()
  assert differ[: photo[0].start].any()
  differ[bar] = False
  differ[: photo[0].start, photo[1].start - 3 : -10] = False
  assert not differ.any()


def test_more_bars_become_thinner(tmp_path: Path):
  heights = [
    extent(drawn(tmp_path, Card('', RED, [('', 1.0), *[('', 0.0)] * (number - 1)])), FIRST)[0]
    for number in (1, 5, 10, 50)
  ]
  assert heights[0] == heights[1]
  assert heights[2] == pytest.approx(heights[1] / 2, rel=0.1)
  assert heights[3] == heights[2]  # no more than ten are drawn


def test_the_same_predictions_make_the_same_picture(tmp_path: Path):
  first, second = (drawn(tmp_path, Card('a', RED, BARS)) for _ in range(2))
  np.testing.assert_array_equal(first, second)
