from pathlib import Path

import numpy as np
from data.folders import png
from scripts.processes import ask_script, run_script


def test_digits_are_prepared_once_and_left_alone(tmp_path: Path):
  first = ask_script('prepare', 'digits', f'--data_dir={tmp_path}')
  assert first.returncode == 0, first.stderr
  ready = f'ready: digits 1.0.0, train 1437, test 360 examples, in {tmp_path}/digits/1.0.0'
  assert first.stdout.splitlines()[-1] == ready
  before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob('*')}
  second = ask_script('prepare', 'digits', f'--data_dir={tmp_path}')
  assert second.returncode == 0
  assert second.stdout.splitlines() == ['digits is already prepared; nothing to do', ready]
  assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob('*')} == before


def test_a_mistake_is_told_in_one_line(tmp_path: Path):
  done = ask_script('prepare', 'digitz', f'--data_dir={tmp_path}')
  assert done.returncode == 2
  assert done.stderr == (
    "error: neither nfnets nor TFDS has a dataset called 'digitz': did you mean digits?\n"
  )
  assert not list(tmp_path.iterdir())


def test_pictures_of_your_own(tmp_path: Path):
  for i in range(20):
    file = tmp_path / 'pets' / ('cat', 'dog')[i % 2] / f'{i}.png'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(png(np.full((8, 8, 3), i, np.uint8)))
  done = ask_script(
    'prepare', 'folder', f'--from={tmp_path}/pets', f'--data_dir={tmp_path}/data', '--holdout=0.2'
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines() == [
    'pets: 2 classes, train 16, validation 4',
    f'ready: pets 1.0.0, train 16, validation 4 examples, in {tmp_path}/data/pets/1.0.0',
  ]


def test_flags_that_do_not_belong_together(tmp_path: Path):
  done = ask_script('prepare', 'digits', '--holdout=0.1', f'--data_dir={tmp_path}')
  assert done.returncode == 2
  assert done.stderr == 'error: --holdout=0.1 is not for digits; --help shows examples\n'
  assert not list(tmp_path.iterdir())


def test_help_shows_an_example():
  done = run_script('prepare', '--help')
  assert done.returncode == 0
  assert 'scripts/prepare.py digits --data_dir=data' in done.stdout
