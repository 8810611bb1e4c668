#!/usr/bin/env python3
"""Measures and draws signal propagation plots: networks at initialization, block by block.

Examples:
  scripts/signals.py nf_resnet50 --picture=nf_resnet50.png
  scripts/signals.py nf_resnet50 resnet50 skipinit_resnet50 --size=128 --picture=compared.png
  scripts/signals.py nfnet_f0 --skip_gain=0 --csv > nfnet_f0.csv

Prints, for every block, the average channel squared mean and the average channel variance of its
output, and the latter of its residual branch before it is scaled and added; behind each of them
what the analysis predicts, and for the output what the betas assume.  The images are standard
normal numbers.  A network of 50 layers takes half a minute on a CPU, most of it to compile.
"""

import dataclasses
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import flags

from nfnets import command_line
from nfnets.errors import InputError
from nfnets.models import zoo
from nfnets.models.signal_prediction import predict_signals
from nfnets.models.signals import signal_propagation
from nfnets.models.tables import Table
from nfnets.models.zoo import Model
from nfnets.plots.signals import Network, plot_networks

PICTURE = flags.DEFINE_string('picture', None, 'PNG file to draw the curves into.')
SIZE = flags.DEFINE_integer('size', 64, 'Side of the square images in pixels.', lower_bound=1)
BATCH = flags.DEFINE_integer('batch', 32, 'Number of images.', lower_bound=1)
SKIP_GAIN = flags.DEFINE_float(
  'skip_gain', 1.0, 'Gain at the end of the branches, for networks that have one.'
)
SEED = flags.DEFINE_integer('seed', 0, 'Of parameters and images.', lower_bound=0)
CSV = flags.DEFINE_bool('csv', False, 'Print comma-separated values instead of tables.')


class BlockSignals(NamedTuple):
  """A row of what is printed; None where nothing is known."""

  model: str
  block: str
  squared_mean: float | None
  predicted_squared_mean: float | None
  variance: float | None
  predicted_variance: float | None
  assumed_variance: float | None
  branch_variance: float | None
  predicted_branch_variance: float | None


def main(argv: list[str]) -> None:
  """Measures; prints, and draws where asked."""
  if len(argv) < 2:
    raise InputError('name at least one network: signals.py nf_resnet50')
  models = [make_model(name) for name in argv[1:]]
  if PICTURE.value:
    check_picture(PICTURE.value)
  networks = []
  for model in models:
    show(model.name)
    networks.append(measure(model))
  show('')
  tables = [table(network) for network in networks]
  if CSV.value:
    everything = [record for one in tables for record in one.records]
    print(dataclasses.replace(tables[0], records=everything).csv())
  else:
    print('\n\n'.join(one.text() for one in tables))
  if PICTURE.value:
    plot_networks(networks, PICTURE.value)
    print(f'wrote {PICTURE.value}', file=sys.stderr if CSV.value else sys.stdout)


def make_model(name: str) -> Model:
  """The network, with the gain if its family has one."""
  has_gain = 'skip_gain' in zoo.create_model(name).family.options
  return zoo.create_model(name, skip_gain=SKIP_GAIN.value if has_gain else None)


def check_picture(path: str) -> None:
  """Raises before an hour's work what would be found behind it."""
  if not path.endswith('.png'):
    raise InputError(f'--picture={path}: the name of a PNG file ends in .png')
  if not Path(path).parent.is_dir():
    raise InputError(f'--picture={path}: there is no folder {str(Path(path).parent)!r}')


def measure(model: Model) -> Network:
  """What goes through the network at initialization, and what should."""
  for_params, for_images = jax.random.split(jax.random.key(SEED.value))
  params, state = model.init(for_params)
  shape = (BATCH.value, SIZE.value, SIZE.value, model.in_channels)
  images = jax.random.normal(for_images, shape)
  measured = signal_propagation(model, params, images, state=state)
  return Network(model.name, measured, predict_signals(model, SIZE.value))


def records(network: Network) -> list[BlockSignals]:
  """One for each block."""
  title, measured, predicted = network
  assert predicted is not None
  columns = (
    measured.squared_mean,
    predicted.squared_mean,
    measured.variance,
    predicted.variance,
    predicted.assumed_variance,
    measured.branch_variance,
    predicted.branch_variance,
  )
  return [
    BlockSignals(title, name, *(None if np.isnan(number) else float(number) for number in numbers))
    for name, *numbers in zip(measured.names, *columns, strict=True)
  ]


def table(network: Network) -> Table:
  """The curves of one network."""
  found = records(network)
  what = ('squared mean', 'predicted', 'variance', 'predicted', 'assumed', 'branch', 'predicted')
  return Table(
    records=found,
    header=(network.title, *what),
    rows=[
      (name, *('' if number is None else f'{number:.4g}' for number in numbers))
      for _, name, *numbers in found
    ],
    note=f'{BATCH.value} images of {SIZE.value} x {SIZE.value} standard normal pixels, seed '
    f'{SEED.value}; skip gain {SKIP_GAIN.value:g} where there is one.',
  )


def show(name: str) -> None:
  """What is being measured, where somebody watches."""
  if sys.stderr.isatty():
    print(f'\r\033[K{name}', end='', file=sys.stderr, flush=True)


if __name__ == '__main__':
  command_line.run(main)
