"""How every command starts and fails: one clear line for whatever a person got wrong."""

import dataclasses
import difflib
import itertools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from nfnets.disk import disk_trouble
from nfnets.errors import InputError, RunError

_FAILED_RUN = 1
_BAD_INPUT = 2
_INTERRUPTED = 130  # what shells report for Ctrl-C
_PIPE_CLOSED = 141  # and for a command whose output nobody reads any more
_CRASHED = 70
FINAL_CODES = frozenset({0, _FAILED_RUN, _BAD_INPUT, _INTERRUPTED, _PIPE_CLOSED})
"""Exit codes of a command that the same command would end with again, or was asked to end with."""
_HELP = {'help', 'helpshort', 'helpfull', 'helpxml'}


class _OrNone(flags.ArgumentParser):
  """Takes 'none' for None, in any case; which fields may be None, the config itself checks."""

  def __init__(self, parser: flags.ArgumentParser):
    super().__init__()
    self.syntactic_help = parser.syntactic_help
    self._parser = parser

  def parse(self, argument: Any) -> Any:
    if isinstance(argument, str) and argument.lower() == 'none':
      return None
    return self._parser.parse(argument)


# ml_collections sets no optional field to None, and knows no Literal.
for _type, _parser in {
  int: flags.IntegerParser(),
  float: flags.FloatParser(),
  str: flags.ArgumentParser(),
  Literal: flags.ArgumentParser(),
}.items():
  config_flags.register_flag_parser_for_type(_type, _OrNone(_parser))


def run(
  main: Callable[[list[str]], int | None], leave: Callable[[int], NoReturn] = sys.exit
) -> NoReturn:
  """Parses the flags, calls `main` with the other arguments (the command's name first), and exits.

  An `InputError`, a wrong flag, a wrong field or value of a config and a config file that is not
  there are told in one line on stderr, `error: ...`, with the error's details each in another below
  it and without a traceback; the exit code is then 2.
  A `RunError` is told likewise, with exit code 1; Ctrl-C exits with 130, and with 141 and no
  word what writes to a pipe that was closed, as `| head` does.  Where a disk is full, one line says
  so, with exit code 1.  Any other exception is a crash: its traceback is shown, and the exit code
  is 70.  The docstring of the script is what `--help` shows.

  Args:
    main: the command.
    leave: ends the process with one of these codes when `main` fails.
  """
  app.run(
    lambda argv: _guarded(main, argv, leave),
    flags_parser=lambda argv: _guarded(_parse, argv),
  )
  raise AssertionError('app.run does not return')


def _guarded(
  function: Callable[[list[str]], Any],
  argv: list[str],
  leave: Callable[[int], NoReturn] = sys.exit,
) -> Any:
  try:
    result = function(argv)
    sys.stdout.flush()  # here, and not at the exit, where a closed pipe would be told
    return result
  except InputError as error:
    _tell('\n  '.join(map(_one_line, [f'error: {error.message}', *error.details])))
    leave(_BAD_INPUT)
  except RunError as error:
    _tell(_one_line(f'error: {error}'))
    _flush_or_discard()
    leave(_FAILED_RUN)
  except KeyboardInterrupt:
    _tell('interrupted')
    leave(_INTERRUPTED)
  except BrokenPipeError:
    _discard_output()
    leave(_PIPE_CLOSED)
  except OSError as error:
    trouble = disk_trouble(error, 'the output')
    if trouble is None:
      traceback.print_exc()
      leave(_CRASHED)
    _tell(_one_line(f'error: {trouble}'))
    _flush_or_discard()
    leave(_FAILED_RUN)
  except Exception:
    traceback.print_exc()
    leave(_CRASHED)


def _flush_or_discard() -> None:
  """Leaves nothing on standard output that the flush at the exit would fail to write."""
  try:
    sys.stdout.flush()
  except OSError:
    _discard_output()


def _discard_output() -> None:
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(text: str) -> str:
  return ' '.join(text.split())


def _tell(line: str) -> None:
  """One write: `print` makes several, and threads that still log would write between them."""
  sys.stderr.write(f'{line}\n')
  sys.stderr.flush()


def _parse(argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS) -> list[str]:
  """The arguments that are no flags; raises `InputError`."""
  for name, path in _config_files(argv, flag_values):
    _check_config_file(name, path)
  try:
    rest = flag_values(argv)
  except SystemExit:  # the help was asked for and printed
    asked = any(argument.lstrip('-') in _HELP for argument in argv)
    sys.exit(0 if asked else _BAD_INPUT)
  except (flags.Error, LookupError, AttributeError, TypeError, ValueError, SyntaxError) as error:
    wrong = [] if _quotes_traceback(error) else list(_wrong_fields(argv, flag_values))
    raise InputError(wrong[0] if wrong else _told(error)) from error
  if 'verbosity' in flag_values and flag_values['verbosity'].using_default_value:
    flag_values.verbosity = logging.WARNING  # else absl shows what libraries say of their work
  return rest


def _config_files(argv: Sequence[str], flag_values: flags.FlagValues) -> Iterator[tuple[str, str]]:
  """(flag, value) of every flag that names a config file."""
  for argument, following in itertools.zip_longest(argv[1:], argv[2:], fillvalue=''):
    name, equals, value = argument.lstrip('-').partition('=')
    if not argument.startswith('-') or name not in flag_values:
      continue
    if isinstance(flag_values[name].parser, ConfigFileFlagParser):
      yield name, value if equals else following


def _check_config_file(name: str, value: str) -> None:
  path = value.split(':')[0]
  if os.path.isfile(path):
    return
  folder = os.path.dirname(path)
  beside = os.listdir(folder or '.') if os.path.isdir(folder or '.') else []
  near = difflib.get_close_matches(os.path.basename(path), beside, n=3)
  hint = f'; did you mean {" or ".join(os.path.join(folder, one) for one in near)}?' if near else ''
  raise InputError(f'--{name}={value}: there is no file {path!r}{hint}')


def _wrong_fields(argv: Sequence[str], flag_values: flags.FlagValues) -> Iterator[str]:
  """A message for every `--config.field=...` whose field the config does not have."""
  files = dict(_config_files(argv, flag_values))
  for argument in argv[1:]:
    flag, _, path = argument.lstrip('-').partition('=')[0].partition('.')
    if not argument.startswith('-') or not path or flag not in flag_values:
      continue
    if flag not in files:
      yield f'{argument}: give --{flag}=FILE as well; it is the config whose field this sets'
    else:
      yield from _wrong_field(flag_values[flag].parser.parse(files[flag]), argument, path)


def _wrong_field(config: Any, argument: str, path: str) -> Iterator[str]:
  for field in path.split('.'):
    if not dataclasses.is_dataclass(config):
      return
    names = [one.name for one in dataclasses.fields(config)]
    if field not in names:
      near = difflib.get_close_matches(field, names, n=3)
      right = f'did you mean {" or ".join(near)}?' if near else f'there are {", ".join(names)}'
      yield f'{argument}: the config has no field {field!r} here; {right}'
      return
    config = getattr(config, field)


def _told(error: BaseException) -> str:
  """What went wrong in one line, the flag's name included."""
  message = str(error)
  if missing := re.match(r'flag --(\w+)=None: ', message):
    return f'--{missing[1]}=... is missing; --help shows an example'
  if not _quotes_traceback(error):
    return message if isinstance(error, flags.Error) else f'{type(error).__name__}: {message}'
  cause: BaseException | None = error
  while cause is not None and _quotes_traceback(cause):
    cause = cause.__context__
  return f'{message.split(": ")[0]}: {cause}'


def _quotes_traceback(error: BaseException) -> bool:
  """Whether it is a config file that failed: ml_collections puts its traceback in the message."""
  return 'Traceback' in str(error)
