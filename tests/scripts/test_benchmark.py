"""The benchmark measures what it says, once each, in turns."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nfnets.benchmarks import init
from nfnets.errors import RunError

ROOT = Path(__file__).parents[2]


def test_init_in_a_fresh_process(tmp_path) -> None:
  out = tmp_path / 'init.json'
  done = subprocess.run(
    [
      sys.executable,
      'scripts/benchmark.py',
      'init',
      '--model=nfnet_tiny',
      '--repeats=2',
      f'--json={out}',
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  (seconds,) = json.loads(out.read_text()).values()
  assert len(seconds) == 2
  assert all(0 < value < 600 for value in seconds)
  assert done.stdout.splitlines()[2].startswith('| nfnet_tiny | ')


def test_networks_take_turns(monkeypatch) -> None:
  told: list[str] = []
  values = iter([1.0, 10.0, 3.0, 30.0, 2.0, 20.0])
  monkeypatch.setattr(init, '_in_fresh_process', lambda name: next(values))
  seconds = init.measure(['a', 'b'], 3, progress=told.append)
  assert seconds == {'a': [1.0, 3.0, 2.0], 'b': [10.0, 30.0, 20.0]}
  assert told[:2] == ['a: 1.00 s', 'b: 10.00 s']
  assert init.markdown(seconds).splitlines()[2] == '| a | 2.00 s | 1.00 s | 3.00 s | 3 |'


def test_a_failing_process_is_told() -> None:
  with pytest.raises(RunError, match=r'measuring nfnet_f99 failed.*nfnet_f99'):
    init.measure(['nfnet_f99'], 1, progress=lambda line: None)
