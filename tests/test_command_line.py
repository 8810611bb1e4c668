import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from nfnets import command_line
from nfnets.errors import InputError, RunError
from nfnets.training.config import Config, flatten

# ml_collections loads config files in a way that Python is to give up in 3.15.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')

ROOT = Path(__file__).parents[1]

CONFIG = """
import dataclasses

from nfnets.errors import InputError

@dataclasses.dataclass
class Optimizer:
  momentum: float = 0.9
  nesterov: bool = True

@dataclasses.dataclass
class Config:
  variant: str = 'f0'
  batch_size: int = 8
  limit: int | None = None
  optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)

def get_config(variant='f0'):
  try:
    {'f0': 0, 'f1': 1, 'f3': 3}[variant]
  except KeyError as error:
    raise InputError(f'there is no variant {variant}') from error
  return Config(variant=variant)
"""

SCRIPT = '''
"""Does something.

Example:
  script.py --config=configs/tiny.py:f1
"""
import os
import signal

from absl import flags
from ml_collections import config_flags

from nfnets import command_line
from nfnets.errors import InputError, RunError

CONFIG = config_flags.DEFINE_config_file('config', None, 'The recipe.')
WHAT = flags.DEFINE_string('what', 'go on', 'What happens.')


def main(argv):
  print(argv[1:], CONFIG.value.optimizer.momentum if CONFIG.value else None)
  if WHAT.value == 'bad input':
    raise InputError('depth=3 is wrong:\\n  it must be 4')
  if WHAT.value == 'failed run':
    raise RunError('it diverged\\nat step 3')
  if WHAT.value == 'interrupt':
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `make test &` has it ignored
    os.kill(os.getpid(), signal.SIGINT)
  if WHAT.value == 'bug':
    raise RuntimeError('a bug')
  return 7 if WHAT.value == 'seven' else None


if __name__ == '__main__':
  command_line.run(main)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / 'tiny.py').write_text(CONFIG)
  (tmp_path / 'script.py').write_text(SCRIPT)
  monkeypatch.chdir(tmp_path)
  return tmp_path


def parse(*arguments: str) -> tuple[flags.FlagValues, list[str]]:
  """What `run` does with the arguments, on flags of our own."""
  argv = ['script.py', *arguments]
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', None, 'Recipe.', flag_values=values, sys_argv=argv)
  flags.DEFINE_integer('steps', 1, 'Steps.', flag_values=values)
  flags.DEFINE_string('workdir', None, 'Where.', flag_values=values)
  return values, command_line._parse(argv, values)


@pytest.mark.usefixtures('folder')
def test_flags_are_parsed():
  values, rest = parse(
    '--config=configs/tiny.py:f3',
    '--config.batch_size=32',
    '--config.optimizer.momentum=0.5',
    '--config.optimizer.nesterov=false',
    '--config.limit=4',
    '--steps=9',
    'PHOTO',
  )
  config = values.config
  assert (config.variant, config.batch_size, config.limit, values.steps) == ('f3', 32, 4, 9)
  assert (config.optimizer.momentum, config.optimizer.nesterov) == (0.5, False)
  assert rest == ['script.py', 'PHOTO']


@pytest.mark.usefixtures('folder')
@pytest.mark.parametrize(
  ('arguments', 'told'),
  [
    ('--config.batch_sise=3', r'--config\.batch_sise=3: .* no field .*did you mean batch_size\?'),
    ('--config.optimizer.momentun=1', r'optimizer\.momentun=1.*did you mean momentum\?'),
    ('--config.optimizer.x=1', r'optimizer\.x=1.*there are momentum, nesterov'),
    ('--config.optimiser.momentum=1', 'did you mean optimizer'),
    ('--config.optimizer.momentum=abc', r'--config\.optimizer\.momentum=abc: could not convert'),
    ('--config.batch_size=2.5', r'--config\.batch_size=2\.5: invalid literal for int'),
    ('--config.optimizer.nesterov=maybe', r'--config\.optimizer\.nesterov=maybe'),
    ('--config.optimizer=3', r'--config\.optimizer=3'),
    ('--stepz=3', "'stepz'. Did you mean: steps"),
    ('--steps=x', '--steps=x: invalid literal'),
  ],
)
def test_a_wrong_field_or_value_is_named_in_one_line(arguments: str, told: str):
  with pytest.raises(InputError, match=told) as caught:
    parse('--config=configs/tiny.py', *arguments.split())
  assert 'Traceback' not in str(caught.value)


@pytest.mark.usefixtures('folder')
@pytest.mark.parametrize(
  ('arguments', 'told'),
  [
    ('--config=configs/tini.py', r"no file 'configs/tini\.py'; did you mean configs/tiny\.py\?"),
    ('--config=tiny.py:f1 --config.batch_size=3', r"no file 'tiny\.py'"),
    ('--config nowhere/tiny.py', r"no file 'nowhere/tiny\.py'"),
    ('--config=', "no file ''"),
    ('--config.batch_size=3', r'--config\.batch_size=3: give --config=FILE as well'),
    ('--config=configs/tiny.py:f99', r'--config=configs/tiny\.py:f99: there is no variant f99$'),
    ('--config=configs/tiny.py:f99 --config.x=1', 'f99: there is no variant f99$'),
  ],
)
def test_a_wrong_config_file_is_named_in_one_line(arguments: str, told: str):
  with pytest.raises(InputError, match=told):
    parse(*arguments.split())


@pytest.mark.usefixtures('folder')
@pytest.mark.parametrize(('field', 'value'), flatten(Config()).items())
def test_every_field_of_a_run_can_be_set(field: str, value: object):
  text = 'None' if value is None else str(value)
  recipe = ROOT / 'configs' / 'quickstart.py'
  values, _ = parse(f'--config={recipe}', f'--config.{field}={text}')
  assert flatten(values.config)[field] == value


def test_a_file_that_is_no_python_is_named():
  with pytest.raises(InputError, match=r'^SyntaxError: .*README.md, line'):
    parse(f'--config={ROOT / "README.md"}')


def test_a_missing_flag_is_named():
  values = flags.FlagValues()
  flags.DEFINE_string('data_dir', None, 'Where.', required=True, flag_values=values)
  with pytest.raises(InputError, match=r'--data_dir=\.\.\. is missing'):
    command_line._parse(['script.py'], values)


def run_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, folder / 'script.py', *arguments],
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.parametrize(
  ('arguments', 'code', 'out', 'err'),
  [
    (['--config=configs/tiny.py', '--what=seven', 'a'], 7, "['a'] 0.9\n", ''),
    (['--what=bad input'], 2, '[] None\n', 'error: depth=3 is wrong: it must be 4\n'),
    (['--what=failed run'], 1, '[] None\n', 'error: it diverged at step 3\n'),
    (['--config=tiny.py'], 2, '', "error: --config=tiny.py: there is no file 'tiny.py'\n"),
    (['--what=interrupt'], 128 + signal.SIGINT, '[] None\n', 'interrupted\n'),
  ],
)
def test_how_a_command_ends(folder: Path, arguments: list[str], code: int, out: str, err: str):
  done = run_script(folder, *arguments)
  assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


def test_an_error_is_one_write_between_those_of_other_threads(monkeypatch: pytest.MonkeyPatch):
  written = []

  class Stderr(io.StringIO):
    def write(self, text: str) -> int:
      written.append(text)
      return len(text)

  def main(argv: list[str]) -> None:
    raise RunError('it diverged')

  monkeypatch.setattr(sys, 'stderr', Stderr())
  with pytest.raises(SystemExit):
    command_line._guarded(main, [])
  assert written == ['error: it diverged\n']


def test_a_bug_keeps_its_traceback(folder: Path):
  done = run_script(folder, '--what=bug')
  assert done.returncode == 70  # 1 is for what is told
  assert 'Traceback' in done.stderr
  assert 'RuntimeError: a bug' in done.stderr


def test_help_shows_the_example(folder: Path):
  done = run_script(folder, '--help')
  assert done.returncode == 0
  assert 'script.py --config=configs/tiny.py:f1' in done.stdout
  assert '--what' in done.stdout


def test_a_closed_pipe_ends_a_command_without_a_word():
  reading, writing = os.pipe()
  os.close(reading)  # as `| head` does when it has enough
  code = "from nfnets import command_line; command_line.run(lambda argv: print('x' * 100))"
  done = subprocess.run(
    [sys.executable, '-c', code],
    stdout=writing,
    stderr=subprocess.PIPE,
    text=True,
    check=False,
    timeout=100,
  )
  os.close(writing)
  assert (done.returncode, done.stderr) == (141, '')


def test_output_that_no_disk_takes_is_told_in_one_line():
  code = "from nfnets import command_line; command_line.run(lambda argv: print('x' * 100))"
  with Path('/dev/full').open('w') as full:
    done = subprocess.run(
      [sys.executable, '-c', code],
      stdout=full,
      stderr=subprocess.PIPE,
      text=True,
      check=False,
      timeout=100,
    )
  told = 'error: no space left for the output (No space left on device)\n'
  assert (done.returncode, done.stderr) == (1, told)


def test_details_are_told_below_the_line_each_in_one(capsys: pytest.CaptureFixture[str]) -> None:
  def main(argv: list[str]) -> None:
    raise InputError('3 things\nare wrong', ['the first\n is this', 'the second'])

  with pytest.raises(SystemExit) as end:
    command_line._guarded(main, ['x.py'])
  assert end.value.code == 2
  assert capsys.readouterr().err == (
    'error: 3 things are wrong\n  the first is this\n  the second\n'
  )
