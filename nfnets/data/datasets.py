"""Every dataset the program knows, one row each."""

import dataclasses

from nfnets.data import subsets

RGB = tuple[float, float, float]

_SCALE = 255.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
  """One row of the table: where a dataset lies and what its pixels and labels look like.

  Attributes:
    name: what a person types.
    tfds_name: its folder below the data folder; 'name/config' where TFDS has configurations.
    train_split: the TFDS split to train on; sub-splits such as 'train[10000:]' are fine.  Sets
      that are made for evaluation have none of that name, which opening it tells.
    eval_split: the TFDS split to evaluate on.
    num_classes: labels are 0 .. num_classes - 1.
    mean: of the training pixels, RGB, on the scale 0..255.
    std: likewise.
    label_key: the TFDS feature that holds the label, or the labels.
    max_labels: how many right answers an example can have.
    classes: the labels that occur, in ascending order, where they are not all: a network is judged
      by its logits for these alone.  None for all.
    of_numbers: whether the classes are numbers: '7' is then a name, and not the want of one.
  """

  name: str
  tfds_name: str
  train_split: str
  eval_split: str
  num_classes: int
  mean: RGB
  std: RGB
  label_key: str = 'label'
  max_labels: int = 1
  classes: tuple[int, ...] | None = None
  of_numbers: bool = False


def _pixels(red: float, green: float, blue: float) -> RGB:
  """From the scale 0..1, on which means and deviations are usually quoted."""
  return (_SCALE * red, _SCALE * green, _SCALE * blue)


IMAGENET_MEAN = _pixels(0.485, 0.456, 0.406)
IMAGENET_STD = _pixels(0.229, 0.224, 0.225)


def _row(name: str, num_classes: int, *, mean: RGB, std: RGB, of_numbers: bool = False) -> Dataset:
  """A dataset with the splits 'train' and 'test'."""
  return Dataset(
    name=name,
    tfds_name=name,
    train_split='train',
    eval_split='test',
    num_classes=num_classes,
    mean=mean,
    std=std,
    of_numbers=of_numbers,
  )


def _imagenet(
  name: str,
  tfds_name: str,
  eval_split: str,
  *,
  label_key: str = 'label',
  max_labels: int = 1,
  classes: tuple[int, ...] | None = None,
) -> Dataset:
  """ImageNet, or a set to evaluate networks on that were trained on it: the same classes."""
  return Dataset(
    name=name,
    tfds_name=tfds_name,
    train_split='train',
    eval_split=eval_split,
    num_classes=1000,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    label_key=label_key,
    max_labels=max_labels,
    classes=classes,
  )


def _grey(value: float) -> RGB:
  return _pixels(value, value, value)


# fmt: off
_ROWS = (
  _imagenet('imagenet2012', 'imagenet2012', 'validation'),
  _imagenet('imagenet2012_real', 'imagenet2012_real', 'validation',
            label_key='real_label', max_labels=9),
  _imagenet('imagenet_v2_matched_frequency', 'imagenet_v2/matched-frequency', 'test'),
  _imagenet('imagenet_v2_threshold_07', 'imagenet_v2/threshold-0.7', 'test'),
  _imagenet('imagenet_v2_top_images', 'imagenet_v2/topimages', 'test'),
  _imagenet('imagenet_a', 'imagenet_a', 'test', classes=subsets.IMAGENET_A),
  _imagenet('imagenet_r', 'imagenet_r', 'test', classes=subsets.IMAGENET_R),
  _row('cifar10', 10,
       mean=_pixels(0.4914, 0.4822, 0.4465), std=_pixels(0.2470, 0.2435, 0.2616)),
  _row('cifar100', 100,
       mean=_pixels(0.5071, 0.4865, 0.4409), std=_pixels(0.2673, 0.2564, 0.2762)),
  _row('fashion_mnist', 10, mean=_grey(0.2860), std=_grey(0.3530)),
  _row('mnist', 10, mean=_grey(0.1307), std=_grey(0.3081), of_numbers=True),
  _row('digits', 10, mean=_grey(0.3058), std=_grey(0.3761), of_numbers=True),
)
# fmt: on
DATASETS: dict[str, Dataset] = {row.name: row for row in _ROWS}
