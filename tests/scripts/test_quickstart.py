"""What `make train` runs, whole."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from nfnets.data.preparation import prepare

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_recipe_learns_the_digits(tmp_path: Path) -> None:
  """At least 97 % of the held-out images, and everything a person looks at afterwards."""
  data, run = tmp_path / 'data', tmp_path / 'run'
  prepare('digits', data)
  done = subprocess.run(
    [
      sys.executable,
      'scripts/train.py',
      '--config=configs/quickstart.py',
      f'--workdir={run}',
      f'--config.data.data_dir={data}',
    ],
    cwd=ROOT,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  told = re.match(r'done: accuracy ([\d.]+)% on 360 held-out images', done.stdout.splitlines()[-1])
  assert told is not None
  assert float(told[1]) >= 97
  lines = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
  last = [line for line in lines if line['kind'] == 'eval'][-1]
  assert last['examples'] == 360
  assert last['ema_accuracy'] >= 0.97
  with Image.open(run / 'curves.png') as picture:
    assert picture.size == (1200, 700)
