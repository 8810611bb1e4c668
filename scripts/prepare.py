#!/usr/bin/env python3
"""Prepares a dataset once, so that it can be trained on.

Examples:
  scripts/prepare.py digits --data_dir=data
  scripts/prepare.py cifar10 --data_dir=data --file_format=array_record
  scripts/prepare.py imagenet2012 --data_dir=/data/tfds --manual_dir=/data/archives

The digits come with the program.  All others are downloaded and prepared by TensorFlow Datasets,
for which `pip install nfnets[prepare]`; for ImageNet, --manual_dir holds ILSVRC2012_img_train.tar
and ILSVRC2012_img_val.tar, which you download yourself.  What is prepared is left as it is.
"""

from absl import flags

from nfnets import command_line
from nfnets.data import preparation
from nfnets.errors import InputError

DATA_DIR = flags.DEFINE_string('data_dir', None, 'Where prepared datasets lie.', required=True)
MANUAL_DIR = flags.DEFINE_string('manual_dir', None, 'Where archives lie that you downloaded.')
FILE_FORMAT = flags.DEFINE_enum(
  'file_format', None, ['tfrecord', 'array_record'], 'How to store the records.'
)


def main(argv: list[str]) -> None:
  """Prepares the one dataset that was named."""
  if len(argv) != 2:
    raise InputError(f'name one dataset, not {len(argv) - 1}: prepare.py DATASET --data_dir=DIR')
  folder = preparation.prepare(
    argv[1],
    DATA_DIR.value,
    manual_dir=MANUAL_DIR.value,
    file_format=FILE_FORMAT.value,
    report=print,
  )
  print('ready:', preparation.describe(folder))


if __name__ == '__main__':
  command_line.run(main)
