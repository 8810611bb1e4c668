#!/usr/bin/env python3
"""Trains a network, or goes on with a run that was stopped.

Examples:
  scripts/train.py --config=configs/quickstart.py --workdir=runs/quickstart
  scripts/train.py --config=configs/quickstart.py --workdir=runs/short --config.epochs=5
  scripts/train.py --config=configs/quickstart.py --workdir=runs/traced --profile

Run the same command again and it goes on from the newest checkpoint.  SIGTERM and Ctrl-C save one
and stop.  With --restart=N a run that crashes goes on by itself.

On a Cloud TPU pod, under Slurm, Open MPI or Kubernetes, start the same command on every host.
Elsewhere tell each process its place:
  scripts/train.py ... --coordinator_address=10.0.0.1:8476 --num_processes=2 --process_id=0
"""

import functools
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from nfnets import command_line
from nfnets.allocator import keep_freed_memory
from nfnets.errors import InputError
from nfnets.native import use_kernels
from nfnets.training import distributed
from nfnets.training.loop import train
from nfnets.training.supervisor import Supervisor
from nfnets.training.workdir import as_folder, newest_state

CONFIG = config_flags.DEFINE_config_file('config', None, 'The recipe: a file with get_config().')
WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run; made if there is none.', required=True
)
FORCE = flags.DEFINE_bool('force', False, 'Go on in a folder that belongs to another run.')
PROFILE = flags.DEFINE_bool('profile', False, 'Trace a few steps into the folder of the run.')
PROFILE_STEPS = flags.DEFINE_integer('profile_steps', 3, 'How many.', lower_bound=1)
RESTART = flags.DEFINE_integer(
  'restart', 0, 'How often in a row, without a new checkpoint in between, a run that crashed is '
  'started again.', lower_bound=0,
)  # fmt: skip
DISTRIBUTED = flags.DEFINE_enum(
  'distributed', 'auto', distributed.WAYS,
  'Whether the run has several processes; auto: where JAX recognises a cluster.',
)  # fmt: skip
COORDINATOR = flags.DEFINE_string(
  'coordinator_address', None, 'host:port of process 0, where processes are started by hand.'
)
PROCESSES = flags.DEFINE_integer('num_processes', None, 'How many are started by hand.')
PROCESS = flags.DEFINE_integer('process_id', None, 'Which of them this is, from 0 on.')
JOIN_TIMEOUT = flags.DEFINE_integer(
  'join_timeout', 300, 'Seconds in which all processes must come.', lower_bound=1
)
HEARTBEAT_TIMEOUT = flags.DEFINE_integer(
  'heartbeat_timeout', 100, 'Seconds of silence after which a process counts as dead.',
  lower_bound=10,
)  # fmt: skip
flags.mark_flag_as_required('config')


def main(argv: list[str]) -> None:
  """Trains."""
  keep_freed_memory()
  use_kernels()
  if argv[1:]:
    raise InputError(f'{argv[1]!r} is no flag; --help shows an example')
  if PROFILE_STEPS.present and not PROFILE.value:
    raise InputError(f'--profile_steps={PROFILE_STEPS.value} means nothing without --profile')
  workdir = as_folder('--workdir', WORKDIR.value)
  if RESTART.value:
    sys.exit(supervise(workdir))
  place = distributed.make_place(COORDINATOR.value, PROCESSES.value, PROCESS.value)
  distributed.join(
    DISTRIBUTED.value, place, wait=JOIN_TIMEOUT.value, heartbeat=HEARTBEAT_TIMEOUT.value
  )
  steps = PROFILE_STEPS.value if PROFILE.value else 0
  outcome = train(CONFIG.value, workdir, force=FORCE.value, profile_steps=steps)
  if not distributed.is_first():
    return
  if outcome.scores is None:
    print(
      f'stopped after step {outcome.step} of {outcome.total_steps}, saved in {workdir}; '
      'run the same command again to go on'
    )
  else:
    print(
      f'done: accuracy {outcome.scores.accuracy:.2%} on {outcome.scores.examples} held-out images '
      f'(averaged parameters, step {outcome.step}); curves, metrics and checkpoints in {workdir}'
    )


def supervise(workdir: Path) -> int:
  """Runs this command without --restart, as often as it takes."""
  return Supervisor(
    [sys.executable, *sys.orig_argv[1:], '--restart=0'],
    restarts=RESTART.value,
    final=command_line.FINAL_CODES,
    newest=functools.partial(newest_state, workdir),
  ).run()


if __name__ == '__main__':
  command_line.run(main, leave=distributed.leave)
