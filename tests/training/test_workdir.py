import json
from pathlib import Path

import pytest

from nfnets.errors import InputError
from nfnets.training.config import Config, DataConfig, ModelConfig, to_json
from nfnets.training.workdir import checkpoint_folder, claim, read_config

CONFIG = Config(batch_size=32, epochs=6)
DATA = {
  'training': {'name': 'digits', 'num_examples': 1437},
  'evaluation': {'name': 'digits', 'num_examples': 360},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
  claim(tmp_path / 'run', CONFIG, DATA)
  return tmp_path / 'run'


def contents(folder: Path) -> dict[str, str]:
  return {file.name: file.read_text() for file in folder.iterdir()}


def test_a_claimed_folder_holds_config_and_data(tmp_path: Path):
  workdir = tmp_path / 'runs' / 'first'
  claim(workdir, CONFIG, DATA)
  assert contents(workdir) == {
    'config.json': to_json(CONFIG),
    'data.json': json.dumps(DATA, indent=2) + '\n',
  }
  assert read_config(workdir) == CONFIG
  assert checkpoint_folder(workdir) == workdir / 'checkpoints'


def test_the_same_run_takes_its_folder_up_again(run: Path):
  before = contents(run)
  claim(run, CONFIG, DATA)
  assert contents(run) == before


def test_what_is_free_to_change_is_stored_anew(run: Path):
  changed = Config(batch_size=32, epochs=6, log_every=7, data=DataConfig(data_dir='elsewhere'))
  claim(run, changed, DATA)
  assert read_config(run) == changed


def test_another_run_is_refused_with_the_fields_that_differ(run: Path):
  before = contents(run)
  other = Config(batch_size=64, epochs=6, log_every=7, model=ModelConfig(name='nfnet_f1'))
  with pytest.raises(InputError) as caught:
    claim(run, other, DATA)
  assert str(caught.value) == (
    f"workdir='{run}' belongs to another run (model.name: 'nfnet_f0' -> 'nfnet_f1'; "
    'batch_size: 32 -> 64): choose another folder, or --force to go on with the new values'
  )
  assert contents(run) == before


def test_force_takes_the_folder_over(run: Path):
  other = Config(batch_size=64, epochs=6)
  claim(run, other, {}, force=True)
  assert read_config(run) == other
  claim(run, other, {})


@pytest.mark.parametrize('part', ['training', 'evaluation'])
def test_other_data_under_the_same_name_is_refused(run: Path, part: str):
  before = contents(run)
  changed = DATA | {part: {'name': 'digits', 'num_examples': 1000}}
  with pytest.raises(InputError, match=rf'another run \(the {part} data changed\): '):
    claim(run, CONFIG, changed)
  assert contents(run) == before


@pytest.mark.parametrize(
  ('name', 'text'),
  [('config.json', '{'), ('config.json', '{"x": 1}'), ('config.json', '[]'), ('data.json', '{'),
   ('data.json', '')],
)  # fmt: skip
def test_a_run_that_cannot_be_read_is_told_with_its_file(run: Path, name: str, text: str):
  (run / name).write_text(text)
  with pytest.raises(InputError, match=f'^{run / name} cannot be read: '):
    claim(run, CONFIG, DATA)
  assert (run / name).read_text() == text


def test_data_of_another_form_is_other_data(run: Path):
  (run / 'data.json').write_text('[]')
  with pytest.raises(InputError, match='the training data changed; the evaluation data changed'):
    claim(run, CONFIG, DATA)


def test_a_folder_without_a_run(tmp_path: Path):
  with pytest.raises(InputError) as caught:
    read_config(tmp_path)
  assert str(caught.value) == (
    f"workdir='{tmp_path}' holds no run: {tmp_path}/config.json is missing; "
    'scripts/train.py makes one'
  )


def test_a_file_is_no_work_folder(tmp_path: Path):
  file = tmp_path / 'file'
  file.write_text('mine')
  for workdir in (file, file / 'run'):
    with pytest.raises(InputError, match=f"^workdir='{workdir}' cannot be written: "):
      claim(workdir, CONFIG, DATA)
    with pytest.raises(InputError, match=str(workdir)):
      read_config(workdir)
  assert file.read_text() == 'mine'


def test_a_folder_that_cannot_be_written(run: Path):
  # Even where everything may be written, as root may, a file cannot be put in a folder's place.
  (run / 'config.tmp').mkdir()
  before = (run / 'config.json').read_text()
  with pytest.raises(InputError, match=f"^workdir='{run}' cannot be written: "):
    claim(run, Config(batch_size=64), DATA, force=True)
  assert (run / 'config.json').read_text() == before
