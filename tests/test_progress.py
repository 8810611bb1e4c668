"""How far a download has come, on a terminal and elsewhere."""

import io

from nfnets.progress import Progress

MB = 1_000_000


class Terminal(io.StringIO):
  def isatty(self) -> bool:
    return True


class Clock:
  """Seconds that pass when they are told to."""

  def __init__(self) -> None:
    self.now = 100.0

  def __call__(self) -> float:
    return self.now


def shown(stream: io.StringIO, *steps: tuple[float, int], total: int | None) -> str:
  """What is written when so many bytes are there after so many seconds."""
  clock = Clock()
  progress = Progress('F0.npz', stream=stream, clock=clock)
  for seconds, done in steps:
    clock.now = 100.0 + seconds
    progress(done, total)
  progress.close()
  progress.close()
  return stream.getvalue()


def test_a_terminal_has_one_line() -> None:
  steps = ((0, 50 * MB), (0.01, 51 * MB), (10, 100 * MB), (30, 200 * MB))
  assert shown(Terminal(), *steps, total=200 * MB) == (
    '\rF0.npz:  25 %, 50.0 of 200.0 MB\x1b[K'
    '\rF0.npz:  50 %, 100.0 of 200.0 MB, 5.0 MB/s, 0:20 left\x1b[K'
    '\rF0.npz: 100 %, 200.0 of 200.0 MB, 5.0 MB/s\x1b[K'
    '\n'
  )


def test_a_log_has_a_line_for_every_tenth() -> None:
  steps = [(second, second * MB) for second in range(101)]
  lines = shown(io.StringIO(), *steps, total=100 * MB).splitlines()
  assert len(lines) == 10
  assert lines[0] == 'F0.npz:  10 %, 10.0 of 100.0 MB, 1.0 MB/s, 1:30 left'
  assert lines[-1] == 'F0.npz: 100 %, 100.0 of 100.0 MB, 1.0 MB/s'


def test_a_log_where_the_length_is_not_known() -> None:
  steps = [(second, second * MB) for second in range(100)]
  assert shown(io.StringIO(), *steps, total=None).splitlines() == [
    'F0.npz: 30.0 MB, 1.0 MB/s',
    'F0.npz: 60.0 MB, 1.0 MB/s',
    'F0.npz: 90.0 MB, 1.0 MB/s',
  ]


def test_hours() -> None:
  line = shown(Terminal(), (0, 0), (1, MB), total=3723 * MB)
  assert '1.0 MB/s, 1:02:02 left' in line


def test_nothing_came() -> None:
  assert shown(Terminal(), total=100) == ''


def test_images_are_counted_whole():
  stream, now = io.StringIO(), iter([0.0, 0.0, 2.0, 4.0])
  with Progress('evaluated', 'images', stream=stream, clock=lambda: next(now)) as progress:
    progress(0, 50_000)
    progress(12_800, 50_000)
    progress(50_000, 50_000)
  assert stream.getvalue().splitlines()[-2:] == [
    'evaluated:  25 %, 12,800 of 50,000 images, 6,400 images/s, 0:06 left',
    'evaluated: 100 %, 50,000 of 50,000 images, 12,500 images/s',
  ]


def test_steps_may_take_seconds() -> None:
  stream, clock = io.StringIO(), Clock()
  progress = Progress('bn_100', 'steps', stream=stream, clock=clock)
  progress(0, 40)
  clock.now += 80
  progress(20, 40)
  assert stream.getvalue() == 'bn_100:  50 %, 20 of 40 steps, 0.2 steps/s, 1:20 left\n'
