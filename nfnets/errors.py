"""What went wrong, in one line that a person can act on."""

from collections.abc import Sequence


class InputError(ValueError):
  """Something a person gave cannot be used: a name, a path, a field, a file.

  The message is one line that names the argument, its value and what would be right.  Commands
  print it without a traceback and exit with code 2; callers of the library catch it as a
  `ValueError`.

  Args:
    message: the line.
    details: further lines, where many things are wrong at once and each is to be seen.
  """

  def __init__(self, message: str, details: Sequence[str] = ()):
    super().__init__('\n  '.join([message, *details]))
    self.message = message
    self.details = tuple(details)


class RunError(RuntimeError):
  """A run cannot go on: it diverged, or too much of its data is unreadable.

  The message is one line that says what happened, where the last good state lies and what to try.
  Commands print it like an `InputError`, with exit code 1.
  """
