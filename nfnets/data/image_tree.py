"""A person's folder of pictures, one folder for each class, as it lies on the disk."""

import dataclasses
import hashlib
import os
from typing import NamedTuple

from nfnets.errors import InputError

EVAL_SPLITS = ('validation', 'val', 'test')
SPLITS = ('train', *EVAL_SPLITS)

_LAYOUT = 'DIR/train/<class>/*.jpg and DIR/validation/<class>/*.jpg'


class Picture(NamedTuple):
  """One file.

  Attributes:
    path: below the source, with '/': 'train/cat/1.jpg'.
    label: the place of its class among all.
    size: in bytes; 0 where it cannot be told.
  """

  path: str
  label: int
  size: int


@dataclasses.dataclass(frozen=True)
class ImageTree:
  """All pictures below a folder.

  Attributes:
    source: the folder.
    classes: their names, sorted.
    splits: the name of a split -> its pictures, in an order that mixes the classes and that
      depends on their paths alone.
  """

  source: str
  classes: tuple[str, ...]
  splits: dict[str, tuple[Picture, ...]]

  @property
  def digest(self) -> str:
    """Differs when a file came, went, changed its size or went to another split."""
    lines = sorted(
      f'{split}\t{picture.path}\t{picture.size}\n'
      for split, pictures in self.splits.items()
      for picture in pictures
    )
    return hashlib.sha256(''.join(lines).encode(errors='surrogateescape')).hexdigest()

  def __len__(self) -> int:
    return sum(map(len, self.splits.values()))


def scan(source: str | os.PathLike[str], holdout: float | None = None) -> ImageTree:
  """Looks through `source`; no file is opened.

  Every file in the folder of a class counts as a picture.  Links are followed, and what is hidden
  is passed over.

  Args:
    source: holds train/<class>/* and validation/<class>/* (or val or test); or with `holdout`
      <class>/* or train/<class>/*.
    holdout: the share of each class, below 1, that becomes the split 'validation'.  Which pictures
      these are depends on their paths alone.

  Raises:
    InputError: `source` is laid out otherwise; the line says how.
  """
  source = os.path.expanduser(source)
  if not os.path.isdir(source):
    raise InputError(f'--from={source} is not a folder')
  if holdout is not None and not 0 < holdout < 1:
    raise InputError(f'--holdout={holdout} is not between 0 and 1')
  folders = _split_folders(source, holdout)
  classes = _class_folders(source, folders['train'])
  splits = {split: _pictures(source, below, classes) for split, below in folders.items()}
  for label, name in enumerate(classes):
    if not any(picture.label == label for picture in splits['train']):
      raise InputError(f'--from={source}: there are no files for the class {name!r}')
  if holdout is not None:
    splits = _hold_out(splits['train'], holdout)
  mixed = {split: tuple(sorted(pictures, key=_by_chance)) for split, pictures in splits.items()}
  return ImageTree(source, classes, mixed)


def _split_folders(source: str, holdout: float | None) -> dict[str, str]:
  """The splits and their folders below `source`."""
  found = _visible(source, folders=True)
  named = [name for name in found if name in SPLITS]
  others = [name for name in found if name not in SPLITS]
  if not found:
    raise InputError(f'--from={source} holds no folders; it should hold {_LAYOUT}')
  if not named and holdout is not None:
    return {'train': ''}
  if not named:
    raise InputError(
      f'--from={source} holds classes ({_some(others)}) but no splits: lay it out as {_LAYOUT}, or '
      'say which share of each class to evaluate on, as in --holdout=0.1'
    )
  if others or 'train' not in named:
    wrong = f'{_some(others)} beside {_some(named)}' if others else f'no train but {_some(named)}'
    raise InputError(f'--from={source} holds {wrong}; it should hold {_LAYOUT}')
  if holdout is None and named == ['train']:
    raise InputError(
      f'--from={source} holds nothing to evaluate on beside train: add validation/<class>/*.jpg, '
      'or say which share of each class to take, as in --holdout=0.1'
    )
  if holdout is not None and named != ['train']:
    raise InputError(
      f'--from={source} holds {_some(named)}: leave --holdout out, or move all into train'
    )
  return {split: split for split in SPLITS if split in named}


def _class_folders(source: str, below: str) -> tuple[str, ...]:
  root = os.path.join(source, below)
  classes = _visible(root, folders=True)
  if not classes:
    raise InputError(f'{root} holds no folders; it should hold one for each class')
  for name in classes:
    if not name.isprintable() or name != name.strip():  # TFDS keeps them as lines of a text file
      raise InputError(f'{root}: {name!r} cannot be the name of a class; rename the folder')
  return tuple(classes)


def _pictures(source: str, below: str, classes: tuple[str, ...]) -> list[Picture]:
  labels = {name: label for label, name in enumerate(classes)}
  pictures: list[Picture] = []
  for name in _visible(os.path.join(source, below), folders=True):
    folder = os.path.join(source, below, name)
    if name not in labels:
      raise InputError(f'{folder}: train has no class {name!r}; its classes are {_some(classes)}')
    if inner := _visible(folder, folders=True):
      raise InputError(f'{folder} is a class but holds folders ({_some(inner)}); files are wanted')
    for file in _visible(folder, folders=False):
      path = '/'.join(filter(None, (below, name, file)))
      pictures.append(Picture(path, labels[name], _size(os.path.join(folder, file))))
  if not pictures:
    raise InputError(f'{os.path.join(source, below)} holds no pictures')
  return pictures


def _hold_out(pictures: list[Picture], share: float) -> dict[str, list[Picture]]:
  """Of each class as near to `share` as can be, but something for either split."""
  by_class: dict[int, list[Picture]] = {}
  for picture in sorted(pictures, key=_by_chance):
    by_class.setdefault(picture.label, []).append(picture)
  splits: dict[str, list[Picture]] = {'train': [], 'validation': []}
  for members in by_class.values():
    count = min(max(round(share * len(members)), 1), len(members) - 1)
    splits['validation'] += members[:count]
    splits['train'] += members[count:]
  if not splits['validation']:
    raise InputError(f'--holdout={share}: every class has one picture; nothing can be held out')
  return splits


def _by_chance(picture: Picture) -> bytes:
  return hashlib.sha256(os.fsencode(picture.path)).digest()


def _visible(folder: str, *, folders: bool) -> list[str]:
  """The names in `folder`, sorted; of folders, or of all else."""
  try:
    entries = list(os.scandir(folder))
  except OSError as error:
    raise InputError(f'{folder} cannot be read: {error.strerror}') from error
  visible = (entry for entry in entries if not entry.name.startswith('.'))
  return sorted(entry.name for entry in visible if entry.is_dir() is folders)


def _size(path: str) -> int:
  try:
    return os.stat(path).st_size
  except OSError:  # a link to nothing: reading it will tell
    return 0


def _some(names: list[str] | tuple[str, ...]) -> str:
  return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
