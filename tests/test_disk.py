import errno
from pathlib import Path

import pytest

from nfnets.disk import disk_trouble, write_whole


def test_a_file_is_replaced(tmp_path: Path):
  for text in (b'first', b'second'):
    write_whole(tmp_path / 'a.json', text)
    assert (tmp_path / 'a.json').read_bytes() == text
  assert [one.name for one in tmp_path.iterdir()] == ['a.json']


def test_what_cannot_be_written_leaves_what_was_there(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  write_whole(tmp_path / 'a.json', b'first')

  def half(path: Path, data: bytes) -> int:
    with path.open('wb') as file:
      file.write(data[:3])
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(Path, 'write_bytes', half)
  with pytest.raises(OSError, match='No space left'):
    write_whole(tmp_path / 'a.json', b'second')
  assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [('a.json', b'first')]


@pytest.mark.parametrize(
  ('error', 'told'),
  [
    (OSError(errno.ENOSPC, 'x'), 'no space left for runs/a (No space left on device)'),
    (OSError(errno.EDQUOT, 'x', 'b.png'), 'no space left for b.png (Disk quota exceeded)'),
    (OSError(errno.EROFS, 'x'), 'no access to runs/a (Read-only file system)'),
    (
      ValueError("OUT_OF_RANGE: Failed to write to file 12 [os_error_code='27']"),
      'no space left for runs/a (File too large)',
    ),
    (OSError(errno.EIO, 'Input/output error'), None),
    (ValueError("DATA_LOSS: [os_error_code='5']"), None),
    (ValueError('No space left on device'), None),
    (OSError('no number'), None),
  ],
  ids=str,
)  # fmt: skip
def test_what_is_wrong_with_a_disk(error: Exception, told: str | None):
  assert disk_trouble(error, Path('runs/a')) == told
