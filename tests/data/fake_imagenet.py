"""A folder that looks like ImageNet's, for tests and trials from end to end.

python tests/data/fake_imagenet.py DATA_DIR TRAIN VALIDATION [PHOTOS]

writes DATA_DIR/imagenet2012 with so many different JPEG files of ImageNet's sizes and all 1,000
classes: parts of the photographs (.jpg) in the folder PHOTOS, or of pictures that are made.
"""

import sys
from pathlib import Path

from nfnets.benchmarks.pictures import photographs, views, write_imagenet


def fake_imagenet(
  data_dir: str | Path, train: int, validation: int, photos: str | Path | None = None
) -> Path:
  """Returns the folder of the version that is written."""
  files = list(views(photographs(photos), train + validation))
  return write_imagenet(data_dir, {'train': files[:train], 'validation': files[train:]})


if __name__ == '__main__':
  print(fake_imagenet(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
