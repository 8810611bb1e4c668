import re
from pathlib import Path

import numpy as np
import pytest
from data.folders import png, write_folder
from scripts.processes import assert_told, run_script

from configs.quickstart import get_config
from nfnets.training.workdir import claim

RECIPE = '--config=configs/quickstart.py'


@pytest.mark.parametrize(
  ('arguments', 'told'),
  [
    ([], ['--config=... is missing', '--help shows an example']),
    ([RECIPE, '--config.model.name=nfnet_f9'], ["model='nfnet_f9'", 'did you mean nfnet_f']),
    pytest.param(
      [RECIPE, '--config.optimizer.momentun=1'],
      ['momentun=1', 'did you mean momentum?'],
      marks=pytest.mark.slow,
    ),
    pytest.param(
      [RECIPE, '--config.optimizer.momentum=1.5'],
      ['optimizer.momentum=1.5', '>= 0 and < 1'],
      marks=pytest.mark.slow,
    ),
    pytest.param(
      [RECIPE, '--config.batch_size=many'], ['--config.batch_size=many'], marks=pytest.mark.slow
    ),
    ([RECIPE, '--config.data.data_dir=/no/data'], ["'/no/data'", 'scripts/prepare.py digits']),
    pytest.param(
      ['--config=configs/quickstar.py'],
      ['did you mean configs/quickstart.py?'],
      marks=pytest.mark.slow,
    ),
    pytest.param(
      [RECIPE, '--profile_steps=5'], ['--profile_steps=5', '--profile'], marks=pytest.mark.slow
    ),
    pytest.param([RECIPE, 'quickly'], ["'quickly' is no flag"], marks=pytest.mark.slow),
  ],
  ids=lambda value: value[-1] if value else 'nothing',
)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing(
  tmp_path: Path, arguments: list[str], told: list[str]
):
  done = run_script('train', f'--workdir={tmp_path / "run"}', *arguments)
  assert_told(done, 2, *told)
  assert done.stdout == ''
  assert not list(tmp_path.iterdir())


def test_a_work_folder_must_be_named():
  assert_told(run_script('train', RECIPE), 2, '--workdir=... is missing', '--help')


def images(count: int) -> list[tuple[bytes, int]]:
  noise = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
  return [(png(image), label % 10) for label, image in enumerate(noise)]


def test_the_folder_of_another_run_is_left_as_it_is(tmp_path: Path):
  write_folder(tmp_path / 'data', {'train': images(64), 'test': images(8)}, below='digits')
  claim(tmp_path / 'run', get_config(), {})
  (tmp_path / 'run' / 'checkpoints' / '10').mkdir(parents=True)
  before = {file: file.stat().st_mtime_ns for file in (tmp_path / 'run').rglob('*')}
  done = run_script(
    'train', RECIPE, f'--workdir={tmp_path / "run"}', f'--config.data.data_dir={tmp_path / "data"}',
    '--config.seed=7',
  )  # fmt: skip
  assert_told(done, 2, 'belongs to another run (seed: 0 -> 7)', '--force')
  assert {file: file.stat().st_mtime_ns for file in (tmp_path / 'run').rglob('*')} == before


@pytest.mark.slow  # compiles a step; what is told is tested in test_loop.py
def test_a_run_that_cannot_go_on_is_told_in_one_line(tmp_path: Path):
  torn = [(image[:40], label) for image, label in images(64)]
  write_folder(tmp_path / 'data', {'train': images(64) + torn, 'test': images(8)}, below='digits')
  done = run_script(
    'train', RECIPE, f'--workdir={tmp_path / "run"}', f'--config.data.data_dir={tmp_path / "data"}',
    '--config.data.max_bad_records=2',
  )  # fmt: skip
  assert done.returncode == 1, done.stderr
  assert 'Traceback' not in done.stderr
  assert re.search(r'bad record: .*tiny-train', done.stderr)
  (told,) = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
  assert re.fullmatch(
    r'error: \d+ records could not be read in epoch 0, up to step 1, more than '
    r'data\.max_bad_records=2; nothing was saved yet: the log names their files',
    told,
  )


def test_help_shows_an_example():
  done = run_script('train', '--help')
  assert done.returncode == 0
  assert 'scripts/train.py --config=configs/quickstart.py --workdir=runs/quickstart' in done.stdout
