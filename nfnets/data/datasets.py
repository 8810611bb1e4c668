"""Every dataset the program knows, one row each."""

import dataclasses
import difflib

from nfnets.errors import InputError

RGB = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
  """One row of the table: where a dataset lies and what its pixels look like.

  Attributes:
    name: what a person types.
    tfds_name: its folder below the data folder; 'name/config' where TFDS has configurations.
    train_split: the TFDS split to train on; sub-splits such as 'train[10000:]' are fine.
    eval_split: the TFDS split to evaluate on.
    num_classes: labels are 0 .. num_classes - 1.
    mean: of the training pixels, RGB, on the scale 0..255.
    std: likewise.
  """

  name: str
  tfds_name: str
  train_split: str
  eval_split: str
  num_classes: int
  mean: RGB
  std: RGB


def _row(name: str, num_classes: int, *, mean: RGB, std: RGB, eval_split: str = 'test') -> Dataset:
  """A row; `mean` and `std` on the scale 0..1, as they are usually quoted."""
  return Dataset(
    name=name,
    tfds_name=name,
    train_split='train',
    eval_split=eval_split,
    num_classes=num_classes,
    mean=(255 * mean[0], 255 * mean[1], 255 * mean[2]),
    std=(255 * std[0], 255 * std[1], 255 * std[2]),
  )


def _grey(value: float) -> RGB:
  return (value, value, value)


# fmt: off
_ROWS = (
  _row('imagenet2012', 1000, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
       eval_split='validation'),
  _row('cifar10', 10, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
  _row('cifar100', 100, mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)),
  _row('fashion_mnist', 10, mean=_grey(0.2860), std=_grey(0.3530)),
  _row('mnist', 10, mean=_grey(0.1307), std=_grey(0.3081)),
  _row('digits', 10, mean=_grey(0.3058), std=_grey(0.3761)),
)
# fmt: on
DATASETS: dict[str, Dataset] = {row.name: row for row in _ROWS}


def find_dataset(name: str) -> Dataset:
  """The row called `name`; `InputError` names the nearest rows and all of them."""
  if name in DATASETS:
    return DATASETS[name]
  near = difflib.get_close_matches(name, DATASETS, n=3, cutoff=0.5)
  hint = f'did you mean {" or ".join(near)}? ' if near else ''
  raise InputError(
    f'no dataset is called {name!r}: {hint}known are {", ".join(sorted(DATASETS))}; '
    'for another TFDS dataset add a row to nfnets/data/datasets.py'
  )
