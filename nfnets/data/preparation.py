"""Making the folders that `records` reads: a dataset is prepared once, by its TFDS builder."""

import difflib
import importlib
import importlib.util
import logging
import os
import tarfile
import tempfile
import textwrap
from collections.abc import Callable

import tensorflow_datasets as tfds

from nfnets.data.datasets import DATASETS
from nfnets.errors import InputError

# Builders of our own need no TensorFlow, as long as they write ArrayRecord.
_OUR_BUILDERS = {'digits': ('nfnets.data.builders.digits', 'Digits')}
# So do those that read what somebody has downloaded.
_FROM_SOURCE = {
  'cifar10': ('nfnets.data.builders.cifar10', 'Cifar10'),
  'mnist': ('nfnets.data.builders.mnist', 'MNIST'),
  'fashion_mnist': ('nfnets.data.builders.mnist', 'FashionMNIST'),
}
_TRAIN_ARCHIVE = 'ILSVRC2012_img_train.tar'
_VALIDATION_ARCHIVE = 'ILSVRC2012_img_val.tar'
_WITH_IMAGENET_ARCHIVES = ('imagenet2012', 'imagenet2012_real')
# How TFDS tells that something is missing or broken; TensorFlow has errors of its own.
_FAILURES = (AssertionError, OSError, tarfile.TarError, tfds.download.DownloadError)
_LOG = logging.getLogger(__name__)
_FORMATS = ('tfrecord', 'array_record')


def prepare(
  name: str,
  data_dir: str | os.PathLike[str],
  *,
  source: str | os.PathLike[str] | None = None,
  manual_dir: str | os.PathLike[str] | None = None,
  file_format: str | None = None,
  report: Callable[[str], None] = _LOG.info,
) -> str:
  """Prepares a dataset, unless that has been done.

  TFDS writes to a folder of another name and renames it at the end, so that a preparation that was
  interrupted is never taken for a whole one.

  Args:
    name: of a row of `datasets.DATASETS`, or any name that TFDS knows.
    data_dir: where datasets lie; it is made if need be.
    source: what to read instead of downloading it: the archive of CIFAR-10, or the folder with the
      files of MNIST or Fashion-MNIST.  Like the digits this needs no TensorFlow, and writes what
      the builder of TFDS writes.
    manual_dir: where files lie that people have to download themselves (ImageNet's archives).
    file_format: 'tfrecord' or 'array_record'; by default what the builder prefers, which is
      'array_record' where no TensorFlow is needed.
    report: is told where there is nothing to do.

  Returns:
    The folder of the prepared version.

  Raises:
    InputError: there is no such dataset, TensorFlow is needed and missing, or its source is.
  """
  if file_format not in (None, *_FORMATS):
    raise InputError(f'file_format is {file_format!r}; it must be one of {", ".join(_FORMATS)}')
  manual_dir = None if manual_dir is None else os.path.expanduser(manual_dir)
  if manual_dir is not None and not os.path.isdir(manual_dir):
    raise InputError(f'manual_dir {manual_dir!r} is not a folder')
  _check_name(name)
  if source is not None:
    source = _check_source(name, source)
  offline = name in _OUR_BUILDERS or source is not None
  if not offline or file_format == 'tfrecord':
    _require_tensorflow(name)
  builder = _make_builder(name, os.path.expanduser(data_dir), source, file_format)
  folder = str(builder.data_dir)
  if is_whole(folder):
    report(f'{name} is already prepared; nothing to do')
    return folder
  if os.path.exists(folder):
    raise InputError(f'{folder} exists but holds no whole dataset; remove it and prepare again')
  if manual_dir is not None and builder.name in _WITH_IMAGENET_ARCHIVES:
    _check_archives(name, manual_dir, report)
  _build(builder, manual_dir, offline=offline)
  return folder


def is_whole(folder: str) -> bool:
  """Whether a preparation came to its end in `folder`."""
  return os.path.isfile(os.path.join(folder, 'dataset_info.json'))


def describe(folder: str) -> str:
  """One line on a prepared folder: its splits, its format and where it is."""
  info = tfds.builder_from_directory(folder).info
  splits = ', '.join(f'{name} {split.num_examples}' for name, split in info.splits.items())
  return f'{info.name} {info.version}, {splits} examples, in {folder}'


def _check_name(name: str) -> None:
  known = {*DATASETS, *_OUR_BUILDERS, *tfds.list_builders(with_community_datasets=False)}
  if name.split('/')[0].split(':')[0] in known:
    return
  near = difflib.get_close_matches(name, known, n=3)
  hint = f'did you mean {" or ".join(near)}?' if near else f'known are {", ".join(DATASETS)}'
  raise InputError(f'neither nfnets nor TFDS has a dataset called {name!r}: {hint}')


def _check_source(name: str, source: str | os.PathLike[str]) -> str:
  source = os.path.expanduser(source)
  if name not in _FROM_SOURCE:
    raise InputError(
      f'--from={source} is not for {name}; it is for folder, {", ".join(_FROM_SOURCE)}'
    )
  if not os.path.exists(source):
    raise InputError(f'--from={source} does not exist')
  return source


def _check_archives(name: str, manual_dir: str, report: Callable[[str], None]) -> None:
  """TFDS goes on without the training images, and fails without the others in no clear words."""
  if not os.path.isfile(os.path.join(manual_dir, _VALIDATION_ARCHIVE)):
    raise InputError(
      f'{name} needs {_VALIDATION_ARCHIVE} in manual_dir {manual_dir!r}; download it from '
      'image-net.org'
    )
  archive = os.path.join(manual_dir, _TRAIN_ARCHIVE)
  if name == 'imagenet2012' and not os.path.isfile(archive):
    report(f'{archive} is missing: there will be validation images only')


def _require_tensorflow(name: str) -> None:
  if importlib.util.find_spec('tensorflow') is None:
    way = ', or give --from as --help shows' if name in _FROM_SOURCE else ''
    raise InputError(
      f'preparing {name} as asked needs TensorFlow (training does not): '
      f'pip install nfnets[prepare]{way}'
    )


def _make_builder(
  name: str, data_dir: str, source: str | None, file_format: str | None
) -> tfds.core.DatasetBuilder:
  try:
    if source is not None:
      return _find_builder(*_FROM_SOURCE[name])(
        source=source, data_dir=data_dir, file_format=file_format or 'array_record'
      )
    if name in _OUR_BUILDERS:
      return _find_builder(*_OUR_BUILDERS[name])(
        data_dir=data_dir, file_format=file_format or 'array_record'
      )
    tfds_name = DATASETS[name].tfds_name if name in DATASETS else name
    return tfds.builder(tfds_name, data_dir=data_dir, file_format=file_format)
  except ValueError as error:  # a format other than that of a prepared folder
    raise InputError(f'{name} in {data_dir}: {_short(error)}') from error


def _find_builder(module: str, name: str) -> Callable[..., tfds.core.DatasetBuilder]:
  return getattr(importlib.import_module(module), name)


def _build(builder: tfds.core.DatasetBuilder, manual_dir: str | None, *, offline: bool) -> None:
  config = None if manual_dir is None else tfds.download.DownloadConfig(manual_dir=manual_dir)
  try:
    if offline:
      with tempfile.TemporaryDirectory() as unused:  # they download nothing
        builder.download_and_prepare(download_dir=unused, download_config=config)
    else:
      builder.download_and_prepare(download_config=config)
  except Exception as error:
    if not isinstance(error, _FAILURES) and not type(error).__module__.startswith('tensorflow.'):
      raise
    raise InputError(f'{builder.name} cannot be prepared: {_short(error)}') from error


def _short(error: Exception) -> str:
  """The message in one line; TFDS puts instructions of any length in it."""
  return textwrap.shorten(str(error), 500) or repr(error)
