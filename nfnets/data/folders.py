"""Prepared dataset folders: where they lie, and what they say of themselves."""

import dataclasses
import difflib
import os
import re

import tensorflow_datasets as tfds

from nfnets.data.datasets import DATASETS, IMAGENET_MEAN, IMAGENET_STD, Dataset
from nfnets.errors import InputError

_EVAL_SPLITS = ('validation', 'val', 'test')  # the first that a folder has is evaluated on
_NAME = re.compile(r'\w+(/\w[\w.+-]*)?')  # or name/config


def find_dataset(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
  """The row called `name`, or one for the dataset that lies prepared under this name.

  Such a row is made from what TFDS wrote: its classes are those of the feature `label`, it is
  trained on 'train' and evaluated on the first of 'validation', 'val' and 'test' that it has, and
  its pixels are normalized as ImageNet's.

  Args:
    name: of a row of `datasets.DATASETS`, or of a folder in `data_dir`; 'name/config' where a
      folder holds several configurations.
    data_dir: the folder that holds prepared datasets; None for the table alone.

  Raises:
    InputError: there is no such dataset, or it is none of labelled images.
  """
  if name in DATASETS:
    return DATASETS[name]
  root = None if data_dir is None else os.path.expanduser(data_dir)
  if root is not None and _NAME.fullmatch(name) and os.path.isdir(os.path.join(root, name)):
    return _prepared_row(name, root)
  prepared = sorted(set(_subfolders(root)) - set(DATASETS)) if root is not None else []
  near = difflib.get_close_matches(name, [*DATASETS, *prepared], n=3, cutoff=0.5)
  hint = f'did you mean {" or ".join(near)}? ' if near else ''
  raise InputError(
    f'no dataset is called {name!r}: {hint}known are {", ".join(sorted(DATASETS))}, and what else '
    f'scripts/prepare.py has put into data_dir{"" if root is None else f" {root!r}"}'
    + (f': {", ".join(prepared)}' if prepared else '')
  )


def class_names(data_dir: str | os.PathLike[str], dataset: Dataset) -> tuple[str, ...]:
  """What the classes of a prepared dataset are called, in the order of the labels.

  ImageNet's are WordNet identifiers such as 'n01440764'; datasets that were prepared without names
  have numbers.

  Raises:
    InputError: the dataset is not in `data_dir`, or its labels are no classes.
  """
  builder = read_folder(find_folder(data_dir, dataset))
  return tuple(_class_label(builder, dataset.label_key).names)


def find_folder(data_dir: str | os.PathLike[str], dataset: Dataset) -> str:
  """The newest whole version of the dataset below `data_dir`.

  Raises:
    InputError: there is none, or there are several configurations.
  """
  data_dir = os.path.expanduser(data_dir)
  command = f'scripts/prepare.py {dataset.name} --data_dir={data_dir}'
  if not os.path.isdir(data_dir):
    raise InputError(f'data_dir {data_dir!r} is not a folder; make it with: {command}')
  root = os.path.join(data_dir, dataset.tfds_name)
  if not os.path.isdir(root):
    raise InputError(
      f'{dataset.name} is not in data_dir: no folder {root}; make it with: {command}'
    )
  if newest := _newest_version(root):
    return newest
  configs = {name: _newest_version(os.path.join(root, name)) for name in _subfolders(root)}
  found = {name: folder for name, folder in configs.items() if folder}
  if len(found) > 1:
    raise InputError(
      f'{root} holds several configurations ({", ".join(found)}); say which, as in '
      f'{dataset.tfds_name}/{next(iter(found))}'
    )
  if not found:
    raise InputError(f'{root} holds no whole version of {dataset.name}; make it with: {command}')
  return next(iter(found.values()))


def read_folder(folder: str) -> tfds.core.DatasetBuilder:
  """TFDS's view of a folder, which needs neither TensorFlow nor the code that prepared it."""
  try:
    return tfds.builder_from_directory(folder)
  except Exception as error:  # JSON, protobuf and version errors alike
    line = (str(error).splitlines() or [repr(error)])[0]
    raise InputError(f'{folder} cannot be read as a dataset folder: {line}') from error


def image_features(
  builder: tfds.core.DatasetBuilder, label_key: str = 'label'
) -> tfds.features.FeaturesDict:
  """What an example consists of: `InputError` unless that is an image, a label and perhaps more."""
  features = builder.info.features
  names = sorted(features) if isinstance(features, tfds.features.FeaturesDict) else []
  if not {'image', label_key} <= set(names):
    raise InputError(
      f"{builder.data_dir} holds {names}; an image dataset needs 'image' and {label_key!r}"
    )
  assert isinstance(features, tfds.features.FeaturesDict)
  return features


def _prepared_row(name: str, data_dir: str) -> Dataset:
  row = Dataset(
    name=name,
    tfds_name=name,
    train_split='train',
    eval_split=_EVAL_SPLITS[0],
    num_classes=1,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
  )
  builder = read_folder(find_folder(data_dir, row))
  return dataclasses.replace(
    row,
    # Where there is none of them, opening 'validation' tells which there are instead.
    eval_split=next(filter(builder.info.splits.__contains__, _EVAL_SPLITS), row.eval_split),
    num_classes=_class_label(builder, row.label_key).num_classes,
  )


def _class_label(builder: tfds.core.DatasetBuilder, label_key: str) -> tfds.features.ClassLabel:
  label = image_features(builder, label_key)[label_key]
  label = getattr(label, 'feature', label)  # of a sequence, what it is a sequence of
  if not isinstance(label, tfds.features.ClassLabel) or not label.num_classes:
    raise InputError(f'{label_key!r} of {builder.data_dir} is no class but {label}')
  return label


def _newest_version(root: str) -> str | None:
  """The folder of the newest finished version directly in `root`."""
  versions = [
    tfds.core.Version(name)
    for name in _subfolders(root)
    if tfds.core.Version.is_valid(name)
    and os.path.isfile(os.path.join(root, name, 'dataset_info.json'))
  ]
  return os.path.join(root, str(max(versions))) if versions else None


def _subfolders(root: str) -> list[str]:
  if not os.path.isdir(root):
    return []
  return sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
