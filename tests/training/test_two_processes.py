"""Two real processes, each with two devices, and what they know of each other."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from training.hosts import ROOT, free_port


@pytest.fixture(scope='module')
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
  """What `two_processes.py` prints, by process."""
  port, folder = free_port(), tmp_path_factory.mktemp('two') / 'run'
  processes = [
    subprocess.Popen(
      [sys.executable, 'tests/training/two_processes.py', str(port), str(process), folder],
      cwd=ROOT,
      env=os.environ | {'PYTHONPATH': str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for process in range(2)
  ]
  ends = [process.communicate(timeout=300) for process in processes]
  assert all(out for out, _ in ends), ends
  assert not list(folder.glob('.shared'))
  return [json.loads(out.splitlines()[-1]) for out, _ in ends]


def test_each_knows_its_place(seen: list[dict[str, Any]]):
  assert [one['devices'] for one in seen] == [[0, 2, 4], [1, 2, 4]]
  assert [one['first'] for one in seen] == [True, False]


def test_texts_are_gathered_in_order(seen: list[dict[str, Any]]):
  assert [one['gathered'] for one in seen] == [['from 0: ', 'from 1: ' + 'ä' * 100]] * 2


def test_what_fails_on_one_fails_on_both(seen: list[dict[str, Any]]):
  assert [one['well'] for one in seen] == ['well on 0', 'well on 1']
  assert [one['input'] for one in seen] == ['InputError: process 1: wrong', 'InputError: wrong']
  assert [one['run'] for one in seen] == [
    'RunError: diverged', 'RunError: process 0: RunError: diverged'
  ]  # fmt: skip
  assert [one['crash'] for one in seen] == [
    "RunError: process 1: KeyError: 'lost'", "KeyError: 'lost'"
  ]  # fmt: skip


def test_another_run_on_one_of_them_is_refused_on_both(seen: list[dict[str, Any]]):
  assert [one['same'] for one in seen] == [None, None]
  assert [one['other'] for one in seen] == [
    'InputError: process 1 does another run than process 0: seed=1 and not 0, data; start all with '
    'the same command on the same data'
  ] * 2


def test_the_folder_is_held_by_both(seen: list[dict[str, Any]]):
  assert [one['held'] for one in seen] == ['held', 'held']


@pytest.mark.parametrize('how', ['pmap', 'shard_map'])
def test_bad_records_are_counted_over_both_at_every_step(seen: list[dict[str, Any]], how: str):
  assert [one['counts'][how] for one in seen] == [[26, 26, 2]] * 2


@pytest.mark.parametrize('how', ['pmap', 'shard_map'])
def test_every_example_of_an_evaluation_counts_once(seen: list[dict[str, Any]], how: str):
  """17 examples, the fourth damaged, every fifth taken for another; then two: one for each."""
  for one in seen:
    many, few = one['scores'][how]
    assert (many['examples'], many['unreadable']) == (16, 1)
    assert many['accuracy'] == 12 / 16
    assert (few['examples'], few['unreadable'], few['accuracy']) == (2, 0, 1 / 2)
  assert seen[0]['scores'] == seen[1]['scores']
