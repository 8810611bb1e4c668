#!/usr/bin/env python3
"""Converts weights: DeepMind's, timm's, ours, or those of a run, into our format or timm's.

Examples:
  scripts/convert.py F0_haiku.npz f0.safetensors --model=nfnet_f0
  scripts/convert.py deepmind timm_f0.safetensors --model=nfnet_f0 --to=timm
  scripts/convert.py timm_l0.safetensors l0.safetensors --model=nfnet_l0
  scripts/convert.py runs/quickstart digits.safetensors
  scripts/convert.py runs/quickstart digits.safetensors --raw

The first argument is a file, `deepmind` or `timm` for what they released (downloaded once), or the
folder of a run, of whose newest checkpoint the averaged parameters are taken.  Our files are
safetensors that say which network they belong to, how images are cut for it and what its classes
are called; no code in any file is run.  Numbers are passed on as they are, in float32.
"""

from pathlib import Path
from typing import cast

from absl import flags

from nfnets import command_line
from nfnets.errors import InputError
from nfnets.inference.network import Network, open_network
from nfnets.loading import Form
from nfnets.output_files import check_writable

MODEL = flags.DEFINE_string('model', None, 'Name of the network, where the weights do not tell.')
TO = flags.DEFINE_enum('to', 'nfnets', ['nfnets', 'timm'], 'Who is to load the file.')
RAW = flags.DEFINE_bool('raw', False, 'Of a run, take the last parameters, not their average.')


def main(argv: list[str]) -> None:
  """Converts."""
  if len(argv) != 3:
    raise InputError(f'give two arguments, IN and OUT, not {len(argv) - 1}; --help shows examples')
  source, target = argv[1:]
  check_writable('OUT', target)  # before the work, not after it
  network = _open(source)
  path = Path(target).expanduser()
  network.save(path, cast(Form, TO.value))
  print(
    f'{network.model.name}, {_count(network):,} parameters ({network.provenance}), written to '
    f'{path} in the format of {TO.value}'
  )


def _open(source: str) -> Network:
  folder = Path(source).expanduser()
  if folder.is_dir():
    return open_network(workdir=folder, model=MODEL.value, averaged=not RAW.value)
  return open_network(weights=source, model=MODEL.value, averaged=not RAW.value)


def _count(network: Network) -> int:
  return sum(leaf.size for leaves in network.params.values() for leaf in leaves.values())


if __name__ == '__main__':
  command_line.run(main)
