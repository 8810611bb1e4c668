"""Kill -9 at random moments, over and over: the run ends bit for bit like one never disturbed."""

import itertools
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from train_processes import SECONDS, assert_same_run, finish, metrics, saved, start

SEED = 0
KILLS = 30
STEPS = 60
EVERY = 5
OPTIONS = {
  'epochs': STEPS * 32 / 90,
  'augment.mixup': 0.2,
  'augment.cutmix': 1.0,
  'augment.layers': 1,
  'augment.magnitude': 10,
  'checkpoint_every': EVERY,
  'eval_every': 20,
}
GREETING, TRAINING = f' of {STEPS} steps: ', 'the first step took '


@pytest.mark.slow
def test_killed_at_any_moment_a_run_ends_as_if_it_never_was(tmp_path: Path, digits: Path):
  """At least 30 kills: while it starts, trains and saves; each is followed by the same command."""
  unbroken = tmp_path / 'unbroken'
  finish(start(unbroken, digits, OPTIONS))
  period = seconds_between_checkpoints(unbroken)
  rng, hits, runs = random.Random(SEED), Counter(), itertools.count(1)
  run = next(runs)
  while hits.total() < KILLS:
    # One in six already while it restores, compiles and cleans up; the others in its loop, where
    # some save nothing new before they are killed, and some do.
    checkpoints = rng.choice([None, 0, 0, 1, 1, 2])
    moment = rng.uniform(0, 1.5 * period)
    hit, at = run_and_kill(tmp_path / f'run_{run}', digits, checkpoints, moment)
    # Shown where the test fails.
    print(f'seed={SEED}: run {run}, {hit}, {moment:.3f} s after checkpoint {checkpoints}, {at}')
    if hit == 'done':  # it was faster: begin anew
      assert_same_run(tmp_path / f'run_{run}', unbroken, steps=STEPS)
      run = next(runs)
    else:
      hits[hit] += 1
  finish(start(tmp_path / f'run_{run}', digits, OPTIONS))
  assert_same_run(tmp_path / f'run_{run}', unbroken, steps=STEPS)
  print(f'{dict(hits)}, in {run} runs')
  assert hits.total() >= KILLS
  assert hits['saving'] >= KILLS // 6
  assert hits['training'] >= KILLS // 6


def seconds_between_checkpoints(workdir: Path) -> float:
  time_line = metrics(workdir)[-1]
  spent = time_line['steps'] + time_line['input'] + time_line['checkpoints']
  return spent / (STEPS / EVERY)


def run_and_kill(
  workdir: Path, digits: Path, checkpoints: int | None, moment: float
) -> tuple[str, str]:
  """Starts a run and kills it so many seconds after so many new checkpoints; what it was doing.

  None for the seconds after its greeting, before it has compiled anything.
  """
  found = saved(workdir)
  process = start(workdir, digits, OPTIONS)
  assert process.stdout is not None
  words = GREETING if checkpoints is None else TRAINING
  said = next((line for line in process.stdout if words in line), None)
  if said is None:  # all that was left of the run was to evaluate it
    _, err = process.communicate()
    assert process.returncode == 0, err
    return 'done', f'checkpoints {found}'
  end = time.monotonic() + SECONDS
  enough = max(found, default=0) + EVERY * (checkpoints or 0)
  while max(saved(workdir), default=0) < enough and process.poll() is None:
    assert time.monotonic() < end
    time.sleep(0.005)
  time.sleep(moment)
  process.send_signal(signal.SIGKILL)
  out, err = process.communicate()
  assert process.returncode in (0, -signal.SIGKILL), err
  at = f'checkpoints {found} -> {saved(workdir)}' + ', passed over' * ('passed over' in err)
  if process.returncode == 0:
    return 'done', at
  if any('tmp' in one.name for one in (workdir / 'checkpoints').iterdir()):
    return 'saving', at
  return 'starting' if TRAINING not in said + out else 'training', at
