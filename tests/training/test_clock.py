import time

import pytest

from nfnets.training.clock import PARTS, Clock


def test_every_second_belongs_to_one_part():
  now = 100.0
  clock = Clock(now=lambda: now)
  for part, seconds in [('start', 3), ('steps', 5), ('input', 0.5), ('steps', 2), ('other', 0)]:
    now += seconds
    assert clock.lap(part) == seconds
  assert clock.spent('steps') == 7
  assert clock.spent('steps', 'input', 'evaluation') == 7.5
  assert clock.seconds() == dict.fromkeys(PARTS, 0) | {'start': 3, 'steps': 7, 'input': 0.5}
  now += 60  # of no part yet
  assert sum(clock.seconds().values()) == 10.5


def test_it_counts_seconds():
  before = time.monotonic()
  clock = Clock()
  time.sleep(0.05)
  assert 0.05 <= clock.lap('evaluation') <= time.monotonic() - before


def test_what_is_told_is_a_copy():
  clock = Clock()
  clock.seconds()['steps'] += 1
  assert clock.spent('steps') == 0


def test_there_are_no_other_parts():
  with pytest.raises(KeyError):
    Clock().lap('breakfast')  # pyright: ignore[reportArgumentType]
