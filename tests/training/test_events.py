import math
from pathlib import Path

import pytest
from event_files import read_events, scalars
from full_disk import files_up_to
from tensorboardX.proto.event_pb2 import SessionLog

from nfnets.training.events import Events


def test_finite_numbers_are_stored_under_their_steps(tmp_path: Path):
  events = Events(tmp_path / 'tensorboard', 1)
  events.write(5, {'train/loss': 2.5, 'train/accuracy': math.nan})
  events.write(6, {'train/loss': -math.inf, 'train/accuracy': 0.25})
  events.close()
  found = list(scalars(tmp_path / 'tensorboard'))
  assert found == [('train/loss', 5, 2.5), ('train/accuracy', 6, 0.25)]


def test_what_is_told_anew_hides_what_was_told_before(tmp_path: Path):
  Events(tmp_path, 8).close()
  versions, start = read_events(tmp_path)
  assert versions.file_version == 'brain.Event:2'
  assert (start.step, start.session_log.status) == (8, SessionLog.START)


def test_a_full_disk_is_told_and_not_waited_for(tmp_path: Path):
  events = Events(tmp_path, 1)
  many = {f'train/{number}': 1.0 for number in range(1000)}
  with files_up_to(20_000):
    with pytest.raises(OSError, match='File too large'):
      events.write(1, many)
    with pytest.raises(OSError, match='File too large'):
      events.close()
