#!/usr/bin/env python3
"""Evaluates a network on held-out images, each counted once, on all devices there are.

Examples:
  scripts/evaluate.py --model=nfnet_f0 --weights=deepmind --data_dir=/data/tfds
  scripts/evaluate.py --model=eca_nfnet_l0 --weights=timm --dataset=imagenet_a --data_dir=/data/tfds
  scripts/evaluate.py --weights=mine.safetensors --dataset=pets --data_dir=data --json=scores.json
  scripts/evaluate.py --workdir=runs/quickstart --raw --split=train --per_class=classes.csv

Weights are a file (DeepMind's, timm's or ours), or `deepmind` or `timm` for what they released,
which is downloaded once.  What timm released is evaluated with the crops of timm, all else with
those of the papers.  The evaluation sets of ImageNet: imagenet2012, imagenet2012_real,
imagenet_v2_matched_frequency, imagenet_v2_threshold_07, imagenet_v2_top_images, imagenet_a,
imagenet_r.
"""

import json
from typing import cast

from absl import flags

from nfnets import command_line
from nfnets.allocator import keep_freed_memory
from nfnets.errors import InputError
from nfnets.inference.evaluate import Evaluation, Precision, evaluate, evaluate_run
from nfnets.inference.network import Network, open_network
from nfnets.inference.per_class import per_class_csv
from nfnets.native import use_kernels
from nfnets.output_files import check_writable, write_text
from nfnets.progress import Progress
from nfnets.training.workdir import as_folder

MODEL = flags.DEFINE_string('model', None, 'Name of the network, where the weights do not tell.')
WEIGHTS = flags.DEFINE_string('weights', None, 'A file, or deepmind or timm.')
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run, instead of weights.')
RAW = flags.DEFINE_bool('raw', False, 'Of a run, take the last parameters, not their average.')
DATASET = flags.DEFINE_string('dataset', 'imagenet2012', 'What to evaluate on; runs know theirs.')
DATA_DIR = flags.DEFINE_string('data_dir', None, 'Where prepared data lies; runs know theirs.')
SPLIT = flags.DEFINE_string('split', None, "Which part of the data; the dataset's own by default.")
SIZE = flags.DEFINE_integer('size', None, 'Side of the images; by default the test size.')
BATCH_SIZE = flags.DEFINE_integer('batch_size', None, 'Images at a time.', lower_bound=1)
PRECISION = flags.DEFINE_enum(
  'precision', 'float32', ['float32', 'bfloat16'], 'Of the activations; runs know theirs.'
)
THREADS = flags.DEFINE_integer(
  'threads', None, "Decoding threads; 2, or the run's own, by default.", lower_bound=1
)
JSON = flags.DEFINE_string('json', None, 'Also write the result to this file.')
PER_CLASS = flags.DEFINE_string('per_class', None, 'Also write a CSV with a row for every class.')
_OF_RUNS = 'runs know theirs: leave it out with --workdir'


def main(argv: list[str]) -> None:
  """Evaluates."""
  keep_freed_memory()
  use_kernels()
  if argv[1:]:
    raise InputError(f'{argv[1]!r} is no flag; --help shows an example')
  if (WEIGHTS.value is None) == (WORKDIR.value is None):
    raise InputError('give one of --weights=FILE|deepmind|timm and --workdir=RUN')
  check_writable('--json', JSON.value)  # before the work, not after it
  check_writable('--per_class', PER_CLASS.value)
  with Progress('evaluated', 'images') as progress:
    result = _of_a_run(progress) if WORKDIR.value is not None else _of_weights(progress)
  if JSON.value is not None:
    write_text('--json', JSON.value, json.dumps(result.to_json(), indent=2) + '\n')
  if PER_CLASS.value is not None:
    write_text('--per_class', PER_CLASS.value, per_class_csv(result.tally, result.class_names))
  print(_told(result))


def _of_a_run(progress: Progress) -> Evaluation:
  for flag in (MODEL, DATASET, SIZE, PRECISION):
    if flag.present:
      raise InputError(f'--{flag.name}={flag.value}: {_OF_RUNS}')
  return evaluate_run(
    as_folder('--workdir', str(WORKDIR.value)),
    averaged=not RAW.value,
    data_dir=DATA_DIR.value,
    split=SPLIT.value,
    batch_size=BATCH_SIZE.value,
    threads=THREADS.value,
    progress=progress,
  )


def _of_weights(progress: Progress) -> Evaluation:
  if DATA_DIR.value is None:
    raise InputError('--data_dir=... is missing: where prepared datasets lie')
  return evaluate(
    _network(),
    dataset=DATASET.value,
    data_dir=DATA_DIR.value,
    split=SPLIT.value,
    batch_size=BATCH_SIZE.value or 64,
    precision=cast(Precision, PRECISION.value),
    threads=THREADS.value or 2,
    progress=progress,
  )


def _network() -> Network:
  return open_network(
    weights=WEIGHTS.value, model=MODEL.value, averaged=not RAW.value, size=SIZE.value
  )


def _told(result: Evaluation) -> str:
  scores = result.scores
  files = [value for value in (JSON.value, PER_CLASS.value) if value is not None]
  return (
    f'{result.model} ({result.weights}) on {scores.examples} images of {result.dataset} '
    f'{result.split}: accuracy {scores.accuracy:.2%}, top-5 {scores.top5:.2%}, '
    f'loss {scores.loss:.4f}, calibration error {scores.calibration_error:.4f}, '
    f'unreadable {scores.unreadable}' + (f'; written to {", ".join(files)}' if files else '')
  )


if __name__ == '__main__':
  command_line.run(main)
