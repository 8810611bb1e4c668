"""Pictures of signal propagation: everything known is drawn, nothing else, and it can be read."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfnets.models.signal_prediction import Prediction
from nfnets.models.signals import Signals
from nfnets.plots.signals import Network, plot_networks, plot_signals

BLOCKS = 7
UNKNOWN = np.full(BLOCKS, np.nan)
GROWING = np.linspace(1.0, 2.0, BLOCKS)

SIGNALS = Signals(squared_mean=GROWING / 10, variance=GROWING, branch_variance=np.ones(BLOCKS))
PREDICTION = Prediction(
  squared_mean=GROWING / 11,
  variance=1.1 * GROWING,
  branch_variance=np.full(BLOCKS, 0.9),
  stages=np.array([0, 0, 1, 1, 1, 2, 2]),
  assumed_variance=1.3 * GROWING,
)

BLUE, VERMILION, GREY = (0, 114, 178), (213, 94, 0), (240, 240, 240)


def pixels(path: Path) -> np.ndarray:
  with Image.open(path) as picture:
    assert picture.format == 'PNG'
    return np.asarray(picture.convert('RGB')).astype(int)


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
  return int(np.all(picture == colour, axis=-1).sum())


def panels(picture: np.ndarray) -> list[np.ndarray]:
  """The picture less its legend, cut into thirds."""
  return np.array_split(picture[:-40], 3, axis=1)


def drawn(folder: Path, signals: Signals, prediction: Prediction | None) -> np.ndarray:
  return pixels(plot_signals(signals, prediction, folder / 'picture.png', 'a network'))


def test_what_was_measured_and_what_was_predicted_are_in_every_panel(tmp_path):
  picture = drawn(tmp_path, SIGNALS, PREDICTION)
  assert picture.shape == (320, 1100, 3)
  for panel in panels(picture):
    assert count(panel, BLUE) > 50
    assert count(panel, VERMILION) > 50
    assert count(panel, GREY) > 1000  # the second of three stages


def test_without_a_prediction_the_measurement_stands_alone(tmp_path):
  picture = drawn(tmp_path, SIGNALS, None)
  assert count(picture, VERMILION) == 0
  assert count(picture, GREY) < 200  # but for the edges of letters
  for panel in panels(picture):
    assert count(panel, BLUE) > 50


def test_the_assumption_is_drawn_where_there_is_one(tmp_path):
  without = dataclasses.replace(PREDICTION, assumed_variance=UNKNOWN)
  pairs = zip(
    panels(drawn(tmp_path, SIGNALS, PREDICTION)),
    panels(drawn(tmp_path, SIGNALS, without)),
    strict=True,
  )
  differ = [bool((one != other).any()) for one, other in pairs]
  # Mean and variance share their scale; the branch has nothing to do with it.
  assert differ == [True, True, False]


def test_single_known_blocks_are_seen(tmp_path):
  known = np.where(np.arange(BLOCKS) % 2 == 0, PREDICTION.variance, np.nan)
  alone = dataclasses.replace(PREDICTION, variance=known)
  nothing = dataclasses.replace(PREDICTION, variance=UNKNOWN)
  _, variance, _ = panels(drawn(tmp_path, SIGNALS, alone))
  assert count(variance, VERMILION) > 10
  _, variance, _ = panels(drawn(tmp_path, SIGNALS, nothing))
  assert count(variance, VERMILION) == 0


@pytest.mark.parametrize(
  'variance',
  [
    2.0 ** np.arange(BLOCKS),
    1e30 ** np.arange(BLOCKS, dtype=float),  # the last ones are infinite
    np.zeros(BLOCKS),
    UNKNOWN,
  ],
  ids=['doubling', 'overflowing', 'zero', 'unknown'],
)
def test_whatever_the_values_the_picture_is_drawn(tmp_path, variance):
  with np.errstate(over='ignore'):
    values = np.float32(variance)
  odd = Signals(squared_mean=values, variance=values, branch_variance=values)
  _, _, branch = panels(drawn(tmp_path, odd, PREDICTION))
  assert count(branch, VERMILION) > 0
  assert (count(branch, BLUE) > 0) == np.isfinite(values).any()


def test_growth_by_powers_is_a_straight_line(tmp_path):
  powers = 10.0 ** np.arange(BLOCKS)
  exploding = Signals(squared_mean=powers, variance=powers, branch_variance=powers)
  _, variance, _ = panels(drawn(tmp_path, exploding, None))
  rows, columns = np.nonzero(np.all(variance == BLUE, axis=-1))
  correlation = np.corrcoef(rows, columns)[0, 1]
  assert correlation < -0.99  # on a linear scale all but the last would lie at the bottom


def test_several_networks_share_a_picture(tmp_path):
  networks = [Network('one', SIGNALS, PREDICTION), Network('other', SIGNALS)]
  picture = pixels(plot_networks(networks, tmp_path / 'both.png'))
  assert picture.shape == (600, 1100, 3)
  upper, lower = picture[:280], picture[280:560]
  assert count(upper, VERMILION) > 150
  assert count(lower, VERMILION) == 0
  assert count(lower, BLUE) == pytest.approx(count(upper, BLUE), rel=0.2)


def test_the_same_numbers_make_the_same_picture(tmp_path):
  first, second = (drawn(tmp_path, SIGNALS, PREDICTION) for _ in range(2))
  np.testing.assert_array_equal(first, second)
