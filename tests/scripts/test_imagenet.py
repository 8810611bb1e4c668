"""The published recipe of NFNet-F0, from records to a score: all but the batch is its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from data.fake_imagenet import fake_imagenet
from scripts.processes import ROOT
from training.hosts import free_port, place

STEPS, BATCH = 3, 4
ARGUMENTS = (
  '--config=configs/nfnet.py:f0',
  f'--config.batch_size={BATCH}',
  f'--config.epochs={STEPS * BATCH / 48}',
  '--config.optimizer.warmup_epochs=0.1',
  '--config.eval_batch_size=4',
  '--config.log_every=1',
)


def train(data: Path, workdir: Path, processes: int) -> list[float]:
  """The losses of all steps."""
  port = free_port()
  all_processes = [
    subprocess.Popen(
      [
        sys.executable, 'scripts/train.py', *ARGUMENTS, f'--config.data.data_dir={data}',
        f'--workdir={workdir}', *place(port, processes, number),
      ],
      cwd=ROOT,
      env=os.environ | {'PYTHONPATH': str(ROOT)},
      stdout=subprocess.PIPE,
      text=True,
    )
    for number in range(processes)
  ]  # fmt: skip
  printed = [one.communicate(timeout=1800)[0] for one in all_processes]
  assert [one.returncode for one in all_processes] == [0] * processes
  assert 'on 6 held-out images' in printed[0].splitlines()[-1]
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  return [line['loss'] for line in lines if line['kind'] == 'train']


@pytest.mark.slow
def test_f0_as_published_on_one_process_and_on_two(tmp_path: Path):
  fake_imagenet(tmp_path / 'data', 48, 6)
  alone = train(tmp_path / 'data', tmp_path / 'alone', 1)
  assert len(alone) == STEPS
  assert alone[0] == pytest.approx(6.9, abs=0.2)  # the logarithm of 1,000 classes
  assert train(tmp_path / 'data', tmp_path / 'two', 2) == pytest.approx(alone, rel=2e-3)
