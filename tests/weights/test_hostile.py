"""No file executes anything, takes more than 2 GB or 10 s, or ends in more than one clear line."""

import json
import os
import pickle
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from weights import watched
from weights.hostile import Files, hostile_pickles
from weights.hostile_tensors import (
  archive,
  entry,
  hostile_safetensors,
  hostile_torch_files,
  safetensors,
  stored,
)
from weights.pickle_parts import array, begun, params
from weights.test_torch_files import pickled, tensor

Report = dict[str, dict]


def read_watched(folder: Path, files: Files, suffix: str, size: int | None = None) -> Report:
  """What came of each file, of the given size if any; all are read in one process."""
  names = {f'{index:04}{suffix}': name for index, name in enumerate(files)}
  for file, name in names.items():
    (folder / file).write_bytes(files[name])
    if size is not None:
      os.truncate(folder / file, size)
  done = subprocess.run(
    [sys.executable, watched.__file__, folder],
    env={**os.environ, 'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  report = json.loads(done.stdout)
  assert {*report} == {*names}, 'a file left another, or has no answer'
  return {names[file]: {**answer, 'file': str(folder / file)} for file, answer in report.items()}


def assert_harmless(folder: Path, hostile: Files, sound: bytes, suffix: str) -> None:
  report = read_watched(folder, {**hostile, 'sound': sound}, suffix)
  good = report.pop('sound')
  assert (good['raised'], good['events']) == (None, [])
  for name, answer in report.items():
    assert answer['events'] == [], name
    assert answer['raised'] == 'InputError', (name, answer)
    message = answer['message']
    assert message.startswith(f'{answer["file"]}: '), name
    assert message.isprintable(), name
    assert len(message) < len(answer['file']) + 300, name
    assert not re.search('memory', message, re.IGNORECASE), (name, message)  # 2 GB were enough


def test_pickles(tmp_path: Path) -> None:
  hostile = hostile_pickles()
  assert len(hostile) > 500
  assert_harmless(tmp_path, hostile, begun() + params(array()) + b'.', '.npz')


def test_torch_files(tmp_path: Path) -> None:
  hostile = hostile_torch_files()
  assert len(hostile) > 100
  sound = archive(pickled({'head.fc.bias': tensor(stored(), 0, (4,), (1,))}))
  assert_harmless(tmp_path, hostile, sound, '.pth')


def test_safetensors(tmp_path: Path) -> None:
  hostile = hostile_safetensors()
  assert len(hostile) > 60
  sound = safetensors({'head.fc.bias': entry()})
  assert_harmless(tmp_path, hostile, sound, '.safetensors')


@pytest.mark.parametrize('suffix', ['.npz', '.pth', '.safetensors'])
def test_files_that_are_larger_than_memory(tmp_path: Path, suffix: str) -> None:
  size = 2**32
  files = {
    'bytes': begun() + pickle.BINBYTES8 + struct.pack('<Q', size),
    'tensor': safetensors({'x': entry(shape=[size], end=size)}, b''),
    'archive': archive(pickled({'x': tensor(stored())})),
  }
  for name, answer in read_watched(tmp_path, files, suffix, 2 * size).items():
    assert (answer['raised'], answer['events']) == ('InputError', []), name
    assert answer['message'].isprintable()
