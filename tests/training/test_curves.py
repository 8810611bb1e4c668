from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfnets.training.curves import draw_curves

TRAIN = [
  {'step': 10 * k, 'kind': 'train', 'loss': 2 / k, 'accuracy': 1 - 1 / k, 'learning_rate': 0.1 * k,
   'clipped': 0.5}
  for k in range(1, 6)
]  # fmt: skip
EVAL = [
  {'step': 50, 'kind': 'eval', 'loss': 0.5, 'accuracy': 0.8, 'ema_loss': 1.5, 'ema_accuracy': 0.6}
]


def pixels(path: Path) -> np.ndarray:
  with Image.open(path) as picture:
    assert (picture.format, picture.mode, picture.size) == ('PNG', 'RGBA', (1200, 700))
    return np.asarray(picture.convert('L'))


def test_without_lines_there_is_no_picture(tmp_path: Path):
  assert draw_curves([], tmp_path / 'curves.png') is None
  assert not list(tmp_path.iterdir())


def test_training_and_evaluation_are_drawn(tmp_path: Path):
  assert draw_curves(TRAIN, tmp_path / 'a.png') == tmp_path / 'a.png'
  draw_curves(TRAIN + EVAL, tmp_path / 'b.png')
  draw_curves(TRAIN, tmp_path / 'c.png')
  train, both, again = (pixels(tmp_path / f'{name}.png') for name in 'abc')
  np.testing.assert_array_equal(train, again)
  changed = train != both
  for panel in (changed[:350, :480], changed[:350, 480:]):  # loss, accuracy
    assert panel.any()
  assert not changed[350:].any()  # an evaluation has no learning rate and clips nothing


@pytest.mark.parametrize(
  'lines',
  [
    EVAL,
    TRAIN[:1],
    [{'step': 1, 'kind': 'train', 'loss': 2.0}],  # AGC switched off, say
    [*TRAIN, {'step': 60, 'kind': 'train', 'loss': None, 'accuracy': 0.0}],
    [{'step': 1, 'kind': 'train', 'loss': None}, *EVAL],
  ],
)
def test_whatever_is_missing_the_rest_is_drawn(tmp_path: Path, lines: list[dict]):
  draw_curves(lines, tmp_path / 'curves.png')
  assert pixels(tmp_path / 'curves.png').std() > 1


def test_every_part_that_is_clipped_has_a_line(tmp_path: Path):
  """In panels and legend alike, but for the head, of which AGC sees one bias."""
  draw_curves(TRAIN, tmp_path / 'a.png')
  parts = {'clipped_stem': 0.5, 'clipped_stage_0': 0.05, 'clipped_neck': 0.0}
  draw_curves([line | parts for line in TRAIN], tmp_path / 'b.png')
  draw_curves([line | parts | {'clipped_head': 1.0} for line in TRAIN], tmp_path / 'c.png')
  one, several, again = (pixels(tmp_path / f'{name}.png') for name in 'abc')
  changed = one != several
  assert not changed[:330].any()  # loss, accuracy
  assert not changed[:, :480].any()  # learning rate
  assert changed[350:, 540:960].any()
  assert changed[350:, 1000:].any()
  np.testing.assert_array_equal(several, again)
