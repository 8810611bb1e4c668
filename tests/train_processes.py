"""The micro network, trained by the real command in processes of their own, and what they leave."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import jax
import micro_train
import numpy as np
import pytest

from nfnets.models.variants import VARIANTS
from nfnets.training.checkpointing import Checkpoints
from nfnets.training.derived import derive
from nfnets.training.optimizer import make_optimizer
from nfnets.training.parallel import make_mapping
from nfnets.training.report import read_metrics
from nfnets.training.state import TrainState, abstract_state
from nfnets.training.workdir import checkpoint_folder, read_config

ROOT = Path(__file__).parents[1]
RECIPE = Path(micro_train.__file__)
STEPS = micro_train.STEPS
IMAGES = 90
SECONDS = 300
_MEASURED = {'images_per_second', 'step_seconds', 'input_wait', 'device_bytes', 'host_bytes'}
_ENVIRONMENT = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, (ROOT, ROOT / 'tests')))}
# Many processes start here, each of which would compile all that it imports.
_ENVIRONMENT.pop('PYTHONDONTWRITEBYTECODE', None)
_ENVIRONMENT['PYTHONPYCACHEPREFIX'] = str(ROOT / '.cache' / 'python')

Options = Mapping[str, Any]


def start(
  workdir: Path,
  data_dir: Path,
  options: Options,
  *flags: str,
  stdout: int | IO[str] = subprocess.PIPE,
) -> subprocess.Popen[str]:
  """Starts a run of the micro network, or goes on with it.

  Args:
    workdir: its folder.
    data_dir: where the data lies.
    options: fields of the config by their names.
    flags: of the command.
    stdout: where its output goes.
  """
  command = [sys.executable, RECIPE, f'--config={RECIPE}', f'--workdir={workdir}', *flags]
  fields = {'data.data_dir': data_dir, **options}
  return subprocess.Popen(
    [*command, *(f'--config.{name}={value}' for name, value in fields.items())],
    cwd=ROOT, env=_ENVIRONMENT, stdout=stdout, stderr=subprocess.PIPE, text=True,
  )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
  """What a process that ends well writes on standard output."""
  out, err = process.communicate(timeout=SECONDS)
  assert process.returncode == 0, err
  return out


def fail(process: subprocess.Popen[str], code: int) -> str:
  """The one line, `error: ...`, with which a process ends that fails; other lines are the log.

  TensorStore may print tracebacks of its own there, out of reach of all handlers.
  """
  _, err = process.communicate(timeout=SECONDS)
  assert process.returncode == code, err
  assert f'File "{ROOT}' not in err
  (line,) = [line for line in err.splitlines() if line.startswith('error: ')]
  return line


def kill(process: subprocess.Popen[str]) -> tuple[str, str]:
  """Kills a process that still runs; what it wrote."""
  process.send_signal(signal.SIGKILL)
  written = process.communicate()
  assert process.returncode == -signal.SIGKILL
  return written


def metrics(workdir: Path) -> list[dict[str, Any]]:
  return read_metrics(workdir / 'metrics.jsonl')


def scalars(workdir: Path) -> list[str]:
  """What each line of the metrics says, but for time and memory, as it is written there."""
  return [
    json.dumps({name: value for name, value in line.items() if name not in _MEASURED})
    for line in metrics(workdir)
    if line['kind'] != 'time'
  ]


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
  """Waits until it is true; fails where the process ends before."""
  end = time.monotonic() + SECONDS
  while not condition():
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < end
    time.sleep(0.01)


def wait_for_step(process: subprocess.Popen[str], workdir: Path, step: int) -> None:
  wait_for(process, lambda: any(line['step'] >= step for line in metrics(workdir)))


def saved(workdir: Path) -> list[int]:
  """The steps whose checkpoints have their place."""
  folder = checkpoint_folder(workdir)
  names = os.listdir(folder) if folder.is_dir() else []
  return sorted(int(name) for name in names if name.isdigit())


def final_state(workdir: Path) -> TrainState:
  """The newest state in the folder of a run."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(VARIANTS, micro_train.NAME, micro_train.SMALLEST)
    return _newest_state(workdir)


def _newest_state(workdir: Path) -> TrainState:
  config = read_config(workdir)
  derived = derive(config, IMAGES)
  optimizer, _ = make_optimizer(config, derived)
  like = abstract_state(
    derived.model, optimizer, make_mapping('pmap', jax.devices()[:1]).global_sharding
  )
  with Checkpoints(checkpoint_folder(workdir), read_only=True) as checkpoints:
    return jax.device_get(checkpoints.restore_newest(like))


def assert_same_run(workdir: Path, unbroken: Path, *, steps: int = STEPS) -> None:
  """That both ended with the same state bit for bit, and wrote the same metrics."""
  state, expected = final_state(workdir), final_state(unbroken)
  assert int(state.step) == int(expected.step) == steps
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
    assert got.dtype == want.dtype
    assert np.asarray(got).tobytes() == np.asarray(want).tobytes()
  assert scalars(workdir) == scalars(unbroken)
