"""The command that draws augmentations."""

import numpy as np
import pytest
from PIL import Image
from scripts.processes import ask_script, assert_told


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
  folder = tmp_path_factory.mktemp('photos')
  rng = np.random.default_rng(0)
  for name in ('one.png', 'other.png'):
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / name)
  return folder


@pytest.mark.slow
def test_the_picture_holds_all_rows(photos, tmp_path):
  picture = tmp_path / 'all.png'
  done = ask_script(
    'augment', photos / 'one.png', photos / 'other.png', '--size=16', '--magnitudes=15',
    f'--picture={picture}',
  )  # fmt: skip
  assert (done.returncode, done.stderr) == (0, '')
  assert done.stdout == f'wrote {picture}: 16 operations at 15\n'
  with Image.open(picture) as image:
    grey = np.all(np.asarray(image.convert('RGB')) == 128, axis=-1)
  assert grey.mean() > 0.02  # what translations, shears, rotations and boxes leave


@pytest.mark.parametrize(
  ('arguments', 'part'),
  [
    (['one.png'], 'name two photos, not 1'),
    (['one.png', 'none.png'], 'none.png cannot be read: No such file'),
    (['one.png', 'other.png', '--magnitudes=5,ten'], "'ten' is not 0 to 100"),
    (['one.png', 'other.png', '--picture=p.jpg'], 'the name of a PNG file ends in .png'),
  ],
)
def test_what_is_wrong_is_named(photos, tmp_path, arguments, part):
  named = [str(photos / one) if one.endswith('g') and '=' not in one else one for one in arguments]
  assert_told(ask_script('augment', f'--picture={tmp_path / "p.png"}', *named), 2, part)
