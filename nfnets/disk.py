"""Files that are written whole or not at all, and what is told where a disk takes no more."""

import errno
import os
import re
from pathlib import Path

_WORDS = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), 'no space left for')
_WORDS |= dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), 'no access to')
_TENSORSTORE = re.compile(r"os_error_code='(\d+)'")  # in the text of its ValueErrors


def write_whole(path: Path, data: bytes) -> None:
  """Writes a file whole or not at all; for files that one process writes at a time.

  Raises:
    OSError: it cannot be written; what was there stays.
  """
  new = path.with_suffix('.tmp')
  try:
    new.write_bytes(data)
  except OSError:
    if new.is_file():
      new.unlink()  # it takes room that is missing
    raise
  os.replace(new, path)


def disk_trouble(error: BaseException, where: str | os.PathLike[str]) -> str | None:
  """What is wrong with a disk, for people: 'no space left for runs/first (Disk quota exceeded)'.

  Only what trying again would not mend; an error of a network file system may be gone in a second.

  Args:
    error: what was raised by whoever wrote.
    where: the place to name, if `error` names none.

  Returns:
    The words, or None where the error means something else.
  """
  system = isinstance(error, OSError)
  number = error.errno if system else _number_in_text(error)
  place = error.filename if system and error.filename else where
  return f'{_WORDS[number]} {place} ({os.strerror(number)})' if number in _WORDS else None


def _number_in_text(error: BaseException) -> int | None:
  found = _TENSORSTORE.search(str(error))
  return int(found[1]) if found else None
