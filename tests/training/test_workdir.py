import json
from pathlib import Path

import pytest

from nfnets.errors import InputError
from nfnets.training.config import Config, DataConfig, ModelConfig, to_json
from nfnets.training.workdir import as_folder, check, checkpoint_folder, claim, locked, read_config

CONFIG = Config(batch_size=32, epochs=6)
DATA = {
  'training': {'name': 'digits', 'num_examples': 1437},
  'evaluation': {'name': 'digits', 'num_examples': 360},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
  """A run that has saved a state."""
  claim(tmp_path / 'run', CONFIG, DATA)
  (tmp_path / 'run' / 'checkpoints' / '10').mkdir(parents=True)
  return tmp_path / 'run'


def contents(folder: Path) -> dict[str, str]:
  return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


def test_a_claimed_folder_holds_config_and_data(tmp_path: Path):
  workdir = tmp_path / 'runs' / 'first'
  check(workdir, CONFIG, DATA)
  assert not list(tmp_path.iterdir())
  claim(workdir, CONFIG, DATA)
  assert contents(workdir) == {
    'config.json': to_json(CONFIG),
    'data.json': json.dumps(DATA, indent=2) + '\n',
  }
  assert read_config(workdir) == CONFIG
  assert checkpoint_folder(workdir) == workdir / 'checkpoints'


def test_the_same_run_takes_its_folder_up_again(run: Path):
  before = contents(run)
  check(run, CONFIG, DATA)
  claim(run, CONFIG, DATA)
  assert contents(run) == before


def test_what_is_free_to_change_may_differ(run: Path):
  changed = Config(batch_size=32, epochs=6, log_every=7, data=DataConfig(data_dir='elsewhere'))
  check(run, changed, DATA)
  claim(run, changed, DATA)
  assert read_config(run) == changed


OTHER = Config(batch_size=64, epochs=6, log_every=7, model=ModelConfig(name='nfnet_f1'))


def test_another_run_is_refused_with_the_fields_that_differ(run: Path):
  before = contents(run)
  with pytest.raises(InputError) as caught:
    check(run, OTHER, DATA)
  assert str(caught.value) == (
    f"workdir='{run}' belongs to another run (model.name: 'nfnet_f0' -> 'nfnet_f1'; "
    'batch_size: 32 -> 64): choose another folder, or --force to go on with the new values'
  )
  assert contents(run) == before


def test_force_takes_the_folder_over(run: Path):
  check(run, OTHER, {}, force=True)


@pytest.mark.parametrize('names', [[], ['10.orbax-checkpoint-tmp'], ['passed-over-10']])
def test_a_run_that_saved_nothing_can_be_begun_anew(tmp_path: Path, names: list[str]):
  claim(tmp_path, CONFIG, DATA)
  for name in names:
    (tmp_path / 'checkpoints' / name).mkdir(parents=True)
  check(tmp_path, OTHER, {})


@pytest.mark.parametrize('part', ['training', 'evaluation'])
def test_other_data_under_the_same_name_is_refused(run: Path, part: str):
  changed = DATA | {part: {'name': 'digits', 'num_examples': 1000}}
  with pytest.raises(InputError, match=rf'another run \(the {part} data changed\): '):
    check(run, CONFIG, changed)
  check(run, CONFIG, changed, force=True)


@pytest.mark.parametrize(
  ('name', 'text'),
  [('config.json', '{'), ('config.json', '{"x": 1}'), ('config.json', '[]'), ('data.json', '{'),
   ('data.json', '')],
)  # fmt: skip
def test_a_run_that_cannot_be_read_is_told_with_its_file(run: Path, name: str, text: str):
  (run / name).write_text(text)
  with pytest.raises(InputError, match=f'^{run / name} cannot be read: '):
    check(run, CONFIG, DATA)


def test_data_of_another_form_is_other_data(run: Path):
  (run / 'data.json').write_text('[]')
  with pytest.raises(InputError, match='the training data changed; the evaluation data changed'):
    check(run, CONFIG, DATA)


def test_a_locked_folder_is_made_and_kept_from_others(tmp_path: Path):
  workdir = tmp_path / 'runs' / 'first'
  message = f"^workdir='{workdir}' is in use by another process$"
  with locked(workdir), pytest.raises(InputError, match=message), locked(workdir):
    pass
  with locked(workdir):  # free again
    assert workdir.is_dir()


def test_a_failed_run_frees_its_folder(tmp_path: Path):
  with pytest.raises(KeyError), locked(tmp_path):
    raise KeyError
  with locked(tmp_path):
    pass


def test_a_folder_as_a_person_names_it(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setenv('HOME', '/home/me')
  assert as_folder('--workdir', 'runs/a') == Path('runs/a')
  assert as_folder('--workdir', '~/runs') == Path('/home/me/runs')


@pytest.mark.parametrize('value', ['', ' '])
def test_an_empty_name_is_no_folder(value: str):
  with pytest.raises(InputError, match=f"^--workdir='{value}' names no folder$"):
    as_folder('--workdir', value)


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
    message = f"^workdir='{workdir}' cannot be written: (File exists|Not a directory)$"
    with pytest.raises(InputError, match=message):
      claim(workdir, CONFIG, DATA)
    with pytest.raises(InputError, match=message), locked(workdir):
      pass
    with pytest.raises(InputError, match=str(workdir)):
      read_config(workdir)
  assert file.read_text() == 'mine'


def test_a_folder_that_cannot_be_written(run: Path):
  # Even where everything may be written, as root may, a file cannot be put in a folder's place.
  (run / 'config.tmp').mkdir()
  before = (run / 'config.json').read_text()
  with pytest.raises(InputError, match=f"^workdir='{run}' cannot be written: Is a directory$"):
    claim(run, OTHER, DATA)
  assert (run / 'config.json').read_text() == before
