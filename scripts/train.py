#!/usr/bin/env python3
"""Trains a network, or goes on with a run that was stopped.

Examples:
  scripts/train.py --config=configs/quickstart.py --workdir=runs/quickstart
  scripts/train.py --config=configs/quickstart.py --workdir=runs/short --config.epochs=5
  scripts/train.py --config=configs/quickstart.py --workdir=runs/traced --profile

Run the same command again and it goes on from the newest checkpoint.  SIGTERM and Ctrl-C save one
and stop.
"""

from absl import flags
from ml_collections import config_flags

from nfnets import command_line
from nfnets.errors import InputError
from nfnets.training.loop import train
from nfnets.training.workdir import as_folder

CONFIG = config_flags.DEFINE_config_file('config', None, 'The recipe: a file with get_config().')
WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run; made if there is none.', required=True
)
FORCE = flags.DEFINE_bool('force', False, 'Go on in a folder that belongs to another run.')
PROFILE = flags.DEFINE_bool('profile', False, 'Trace a few steps into the folder of the run.')
PROFILE_STEPS = flags.DEFINE_integer('profile_steps', 3, 'How many.', lower_bound=1)
flags.mark_flag_as_required('config')


def main(argv: list[str]) -> None:
  """Trains."""
  if argv[1:]:
    raise InputError(f'{argv[1]!r} is no flag; --help shows an example')
  workdir = as_folder('--workdir', WORKDIR.value)
  steps = PROFILE_STEPS.value if PROFILE.value else 0
  outcome = train(CONFIG.value, workdir, force=FORCE.value, profile_steps=steps)
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


if __name__ == '__main__':
  command_line.run(main)
