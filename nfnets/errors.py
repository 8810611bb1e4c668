"""What went wrong, in one line that a person can act on."""


class InputError(ValueError):
  """Something a person gave cannot be used: a name, a path, a field, a file.

  The message is one line that names the argument, its value and what would be right.  Commands print
  it without a traceback and exit with code 2; callers of the library catch it as a `ValueError`.
  """
