#!/usr/bin/env python3
"""Says what a network sees in photographs: the most probable classes of each.

Examples:
  scripts/predict.py --model=nfnet_f0 --weights=deepmind photo.jpg
  scripts/predict.py --model=nfnet_f0 --weights=timm --picture=seen.png photo.jpg holiday/
  curl -s URL | scripts/predict.py --weights=mine.safetensors --json - > seen.jsonl
  scripts/predict.py --workdir=runs/quickstart digit.png

A photograph is a file of any common format, every image file of a folder and of those within, or -
for one on standard input.  It is turned upright as its EXIF data say, and then squashed and cut as
in the network's evaluation.  One that cannot be read is told, and the others go on; the exit code
is then 1.
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from nfnets import command_line
from nfnets.allocator import keep_freed_memory
from nfnets.errors import InputError, RunError
from nfnets.inference import outputs
from nfnets.inference.inputs import find_photos
from nfnets.inference.network import open_network
from nfnets.inference.predict import Prediction, predict
from nfnets.native import use_kernels
from nfnets.output_files import check_writable
from nfnets.plots.predictions import MOST, THUMBNAIL, Card, plot_predictions
from nfnets.training.workdir import as_folder

MODEL = flags.DEFINE_string('model', None, 'Name of the network, where the weights do not tell.')
WEIGHTS = flags.DEFINE_string('weights', None, 'A file, or deepmind or timm.')
WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run, instead of weights.')
RAW = flags.DEFINE_bool('raw', False, 'Of a run, take the last parameters, not their average.')
TOP = flags.DEFINE_integer('top', 5, 'How many classes.', lower_bound=1)
JSON = flags.DEFINE_bool('json', False, 'Print a line of JSON for each photograph.')
PICTURE = flags.DEFINE_string(
  'picture', None, f'PNG file to draw the photographs and their classes into, {MOST} at most.'
)
BATCH_SIZE = flags.DEFINE_integer('batch_size', 16, 'Photographs at a time.', lower_bound=1)
PRECISION = flags.DEFINE_enum(
  'precision', 'float32', ['float32', 'bfloat16'], 'What the network computes in.'
)
SIZE = flags.DEFINE_integer('size', None, 'Side of the images; by default the test size.')


@dataclasses.dataclass
class Told:
  """What has been said so far."""

  seen: int = 0
  broken: list[str] = dataclasses.field(default_factory=list)
  cards: list[Card] = dataclasses.field(default_factory=list)


def main(argv: list[str]) -> None:
  """Predicts, prints, and draws where asked."""
  keep_freed_memory()
  use_kernels()
  if len(argv) < 2:
    raise InputError('name at least one photo, a folder, or - for standard input')
  if (WEIGHTS.value is None) == (WORKDIR.value is None):
    raise InputError('give one of --weights=FILE|deepmind|timm and --workdir=RUN')
  found = find_photos(argv[1:], sys.stdin.buffer)
  if PICTURE.value is not None:
    check_picture(PICTURE.value)
  network = open_network(
    model=MODEL.value,
    weights=WEIGHTS.value,
    workdir=as_folder('--workdir', WORKDIR.value) if WORKDIR.value is not None else None,
    averaged=not RAW.value,
    size=SIZE.value,
  )
  told = Told()
  predictions = predict(
    network,
    found.photos,
    top=TOP.value,
    batch_size=BATCH_SIZE.value,
    precision=PRECISION.value,
    thumbnail=None if PICTURE.value is None else THUMBNAIL,
    on_error=lambda name, message: tell_error(told, name, message),
  )
  for prediction in predictions:
    tell(told, prediction)
  if PICTURE.value is not None and told.cards:
    plot_predictions(told.cards, Path(PICTURE.value).expanduser())
  where = f'{network.model.name}: {"; ".join(summary(told, found.passed_over))}'
  print(where, file=sys.stderr if JSON.value else sys.stdout, flush=True)
  if told.broken:
    raise RunError(failure(told.broken, len(found.photos)))


def check_picture(path: str) -> None:
  """Raises before the work what would be found behind it."""
  if not path.endswith('.png'):
    raise InputError(f'--picture={path}: the name of a PNG file ends in .png')
  check_writable('--picture', path)


def tell(told: Told, prediction: Prediction) -> None:
  """Prints one prediction, and keeps it for the picture."""
  told.seen += 1
  print(
    outputs.json_line(prediction) if JSON.value else f'{outputs.text(prediction)}\n', flush=True
  )
  if prediction.thumbnail is not None and len(told.cards) < MOST:
    bars = [(outputs.title(one), one.probability) for one in prediction.classes]
    told.cards.append(Card(prediction.name, prediction.thumbnail, bars))


def tell_error(told: Told, name: str, message: str) -> None:
  """Prints why a photograph has no prediction, in its place among the others."""
  told.broken.append(name)
  if JSON.value:
    print(outputs.json_error(name, message), flush=True)
  else:
    print(f'{name}\n  {message}\n', flush=True)


def summary(told: Told, passed_over: int) -> Iterator[str]:
  """What was done, and where it is."""
  yield count(told.seen, 'photo')
  if passed_over:
    yield f'passed over {count(passed_over, "file")} with no name of a photo'
  if told.cards:
    only = '' if len(told.cards) == told.seen else f'the first {len(told.cards)} '
    yield f'drew {only}into {PICTURE.value}'


def failure(broken: list[str], photos: int) -> str:
  """The names of the photographs without a prediction, if they are few."""
  some = ', '.join(broken[:3]) + (', ...' if len(broken) > 3 else '')
  return f'no prediction for {len(broken)} of {count(photos, "photo")}: {some}'


def count(number: int, noun: str) -> str:
  """'1 photo', '2 photos'."""
  return f'{number} {noun}{"" if number == 1 else "s"}'


if __name__ == '__main__':
  command_line.run(main)
