"""Pictures in folders -> a prepared dataset that is read like any other.  No TensorFlow is used."""

import contextlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator

import tensorflow_datasets as tfds

from nfnets.data.datasets import DATASETS
from nfnets.data.image_tree import ImageTree, scan
from nfnets.data.image_writer import ImageWriter
from nfnets.errors import InputError

VERSION = '1.0.0'

_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
_LOG = logging.getLogger(__name__)


def prepare_folder(
  source: str | os.PathLike[str],
  data_dir: str | os.PathLike[str],
  *,
  name: str | None = None,
  holdout: float | None = None,
  report: Callable[[str], None] = _LOG.info,
) -> str:
  """Makes a dataset of the pictures below `source`, unless that has been done.

  JPEG and PNG files are stored byte for byte; others (WebP, BMP, GIF, TIFF, ...) as PNG.  Files
  that cannot be read are named and left out.  Pixels are learnt as they are stored: whatever EXIF
  data say of turning a photograph is ignored, but it is told how many are concerned.  What is
  written appears at the end, as a whole.

  Args:
    source: laid out as `image_tree.scan` says.
    data_dir: where datasets lie; it is made if need be.
    name: of the dataset; by default that of the folder, in letters, digits and underscores.
    holdout: the share of each class to evaluate on, where `source` has no split for that.
    report: is told how far it is, and what is left out.

  Returns:
    The folder of the prepared version: data_dir/name/1.0.0.

  Raises:
    InputError: the layout is another, the name is taken, more than a tenth of the files cannot be
      read, or `source` is no longer what was prepared under this name.
  """
  tree = scan(source, holdout)
  name = _check_name(name, tree.source)
  root = os.path.join(os.path.expanduser(data_dir), name)
  inside = os.path.realpath(tree.source)
  if os.path.commonpath([os.path.realpath(root), inside]) == inside:
    raise InputError(f'{root} would be written into {tree.source} itself: give another --data_dir')
  folder = os.path.join(root, VERSION)
  if os.path.isdir(root) and _is_prepared(tree, root, folder):
    report(f'{name} is already prepared; nothing to do')
    return folder
  report(
    f'{name}: {len(tree.classes)} classes, '
    + ', '.join(f'{split} {len(pictures)}' for split, pictures in tree.splits.items())
  )
  try:
    with _made_whole(folder) as partial:
      ImageWriter(tree, name=name, version=VERSION, folder=partial, report=report).write()
  except OSError as error:
    raise InputError(f'{name} cannot be written to {folder}: {error}') from error
  return folder


@contextlib.contextmanager
def _made_whole(folder: str) -> Iterator[str]:
  """A folder to write to, which becomes `folder` at the end, or is gone if that is not reached."""
  root, version = os.path.split(folder)
  os.makedirs(root, exist_ok=True)
  partial = tempfile.mkdtemp(prefix='incomplete.', suffix=f'_{version}', dir=root)
  try:
    yield partial
    os.chmod(partial, 0o777 & ~_umask())  # mkdtemp lets nobody else in
    os.rename(partial, folder)
  except BaseException:
    shutil.rmtree(partial, ignore_errors=True)
    raise


def _check_name(name: str | None, source: str) -> str:
  if name is None:
    base = os.path.basename(os.path.abspath(source))
    name = re.sub('[^a-z0-9]+', '_', base.lower()).strip('_')
    if not _NAME.fullmatch(name):
      raise InputError(f'--from={source}: {base!r} gives no name for a dataset; say --name=NAME')
  if not _NAME.fullmatch(name):
    raise InputError(f'--name={name!r} is not a letter, then letters, digits and underscores')
  if name in DATASETS:
    raise InputError(f'--name={name!r} is the name of another dataset; choose one with --name=NAME')
  return name


def _is_prepared(tree: ImageTree, root: str, folder: str) -> bool:
  """Whether `folder` holds what is to be prepared; `InputError` if it holds something else."""
  others = [one for one in os.listdir(root) if not one.startswith('incomplete.')]
  if not others:
    return False
  kept = tfds.core.MetadataDict()
  if others == [VERSION] and os.path.isfile(os.path.join(folder, 'metadata.json')):
    kept.load_metadata(folder)
  if 'digest' not in kept:
    raise InputError(f'{root} holds something else; choose another --name, or remove it')
  if kept['digest'] != tree.digest:
    raise InputError(
      f'{tree.source} has changed since it was prepared in {folder}: remove that folder and '
      'prepare again, or choose another --name'
    )
  return True


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask
