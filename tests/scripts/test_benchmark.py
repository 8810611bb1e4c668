"""The benchmark measures what it says, once each, in turns."""

import json
import mmap
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nfnets.benchmarks import init, load
from nfnets.errors import RunError

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
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
  monkeypatch.setattr(init, 'in_fresh_process', lambda *arguments: next(values))
  seconds = init.measure(['a', 'b'], 3, progress=told.append)
  assert seconds == {'a': [1.0, 3.0, 2.0], 'b': [10.0, 30.0, 20.0]}
  assert told[:2] == ['a: 1.0', 'b: 10.0']
  assert init.markdown(seconds).splitlines()[2] == '| a | 2.00 s | 1.00 s | 3.00 s | 3 |'


def test_a_failing_process_is_told() -> None:
  with pytest.raises(RunError, match=r'measuring nfnet_f99 failed.*nfnet_f99'):
    init.measure(['nfnet_f99'], 1, progress=lambda line: None)


@pytest.mark.slow
def test_load_in_fresh_processes() -> None:
  measured = load.measure(['nfnet_tiny'], 1, progress=lambda line: None)
  assert list(measured) == ['nfnet_tiny, ours', 'nfnet_tiny, timm', 'nfnet_tiny, DeepMind']
  assert all(value.seconds < 60 for values in measured.values() for value in values)
  assert load.markdown(measured).splitlines()[2].startswith('| nfnet_tiny, ours | ')


def test_load_measures_time_and_memory(tmp_path: Path) -> None:
  files = dict(load._write(tmp_path, 'nfnet_tiny'))
  seconds, memory = load._once(files['nfnet_tiny, ours'], 'nfnet_tiny')
  assert 0 < seconds < 60
  assert 0 <= memory < 100
  with load._peak_memory() as peak:
    held = mmap.mmap(-1, 50_000_000)  # not by malloc, which may have some that was freed
    held.write(b'1' * len(held))
    time.sleep(0.1)
  assert peak['most'] > 0.9 * len(held)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('arguments', 'told'),
  [
    (['infer', '--devices=2'], '--devices: infer does not use it; it has --against, --batch_size'),
    (['train', '--part=sam'], '--part: train does not use it; it has '),
    (['train', '--folded'], '--folded: train does not use it; it has '),
    (['init', '--batch_size=8'], '--batch_size: init does not use it; it has --model, --repeats, '),
    (['train', '--torch_layout=contiguous'], 'contiguous means nothing without --against=timm'),
    (['compile', '--scan_from=1'], 'scan_from=1 must be 2 or more, or None'),
    (['train', '--devices=2', '--batch_size=3'], '--batch_size=3 is no multiple of --devices=2'),
    (['train', '--devices=2', '--against=timm'], '--devices=2: timm is measured on one device'),
    (['init', '--against=timm'], '--against: init does not use it; it has --model, --repeats'),
    (['train', '--against=tf.data'], '--against=tf.data: train is measured against timm'),
    (['fly'], "load or input or input_memory, not 'fly'"),
  ],
)
def test_what_cannot_be_measured_is_told(arguments: list[str], told: str) -> None:
  command = [sys.executable, 'scripts/benchmark.py', '--model=nfnet_f0', *arguments]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 2
  assert told in done.stderr
  assert len(done.stderr.splitlines()) == 1
