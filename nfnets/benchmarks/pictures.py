"""Photographs to measure with, and to stand in for a dataset that is not at hand."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]
from PIL import Image

from nfnets.data.photos import read_photo
from nfnets.errors import InputError

_SOURCES = 4
_WIDTH, _HEIGHT = 1280, 960  # of pictures that are made
_PER_SHARD = 1000
_QUALITY, _HALVED_COLOURS = 95, 2  # 4:2:0


def photographs(folder: str | Path | None = None) -> list[np.ndarray]:
  """Those in a folder, uint8 [H, W, 3] each, or some that are made: shapes, shades and grain."""
  if folder is None:
    return [_made(np.random.default_rng(number)) for number in range(_SOURCES)]
  if not Path(folder).is_dir():
    raise InputError(f'--photos={folder} is not a folder')
  files = sorted(file for file in Path(folder).iterdir() if file.suffix in ('.jpg', '.jpeg'))
  if not files:
    raise InputError(f'--photos={folder} holds no .jpg files')
  return [read_photo(file.read_bytes()) for file in files]


def views(
  sources: Sequence[np.ndarray], count: int, *, size: tuple[int, int] | None = None
) -> Iterator[bytes]:
  """JPEG files of parts of `sources`, each of another place, scale, side and colour.

  Args:
    sources: see `photographs`.
    count: how many.
    size: width and height; None for those of ImageNet, most of 500 pixels on the longer side.
  """
  for number in range(count):
    rng = np.random.default_rng([number, count])
    source = sources[int(rng.integers(len(sources)))]
    width, height = size or _any_size(rng)
    part = cv2.resize(_part(source, width / height, rng), (width, height))
    colours = part[:, :: rng.choice([-1, 1])] * rng.uniform(0.7, 1.2, 3) + rng.uniform(-20, 20, 3)
    file = io.BytesIO()
    Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(
      file, 'JPEG', quality=_QUALITY, subsampling=_HALVED_COLOURS
    )
    yield file.getvalue()


def write_imagenet(data_dir: str | Path, splits: Mapping[str, Sequence[bytes]]) -> Path:
  """Writes JPEG files as TFDS writes imagenet2012; labels go through all 1,000 classes."""
  builder = tfds.builder('imagenet2012', data_dir=str(data_dir), file_format='array_record')
  info, folder = builder.info, Path(data_dir, 'imagenet2012', str(builder.info.version))
  folder.mkdir(parents=True)
  features: Any = info.features
  written = []
  for split, files in splits.items():
    shards = [files[i : i + _PER_SHARD] for i in range(0, len(files), _PER_SHARD)]
    name = f'imagenet2012-{split}.array_record-{{:05d}}-of-{len(shards):05d}'
    for number, shard in enumerate(shards):
      writer = array_record_module.ArrayRecordWriter(
        str(folder / name.format(number)), 'group_size:1'
      )
      for place, data in enumerate(shard, start=number * _PER_SHARD):
        label = place * 7 % 1000  # neighbours differ
        example = {'image': io.BytesIO(data), 'label': label, 'file_name': f'{split}_{place}.JPEG'}
        writer.write(features.serialize_example(example))
      writer.close()
    template = tfds.core.ShardedFileTemplate(
      data_dir=tfds.core.Path(folder),
      dataset_name='imagenet2012',
      split=split,
      filetype_suffix='array_record',
    )
    written.append(
      tfds.core.SplitInfo(
        name=split,
        shard_lengths=[len(shard) for shard in shards],
        num_bytes=sum(map(len, files)),
        filename_template=template,
      )
    )
  info.set_splits(tfds.core.SplitDict(written))
  info.write_to_directory(folder)
  return folder


def _any_size(rng: np.random.Generator) -> tuple[int, int]:
  """Width and height: 500 x 375, upright, square and all between; some are small, some large."""
  long = 500 if rng.random() < 0.7 else int(rng.integers(100, 1000))
  short = int(long * rng.choice([3 / 4, 2 / 3, rng.uniform(0.5, 1)]))
  return (long, short) if rng.random() < 0.75 else (short, long)


def _part(source: np.ndarray, aspect: float, rng: np.random.Generator) -> np.ndarray:
  height, width = source.shape[:2]
  most = min(width, height * aspect)
  wide = rng.uniform(0.5, 1) * most
  high = min(wide / aspect, height)
  left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
  return source[int(top) : int(top + high) + 1, int(left) : int(left + wide) + 1]


def _made(rng: np.random.Generator) -> np.ndarray:
  """Overlapping shapes of all sizes, as things hide each other, on shades of all scales."""
  image = np.zeros((_HEIGHT, _WIDTH, 3), np.float32)
  for _ in range(600):
    radius = 12 / rng.uniform(0.05, 1)
    centre = (int(rng.integers(_WIDTH)), int(rng.integers(_HEIGHT)))
    axes = (int(radius * rng.uniform(0.3, 1)), int(radius))
    colour = rng.uniform(0, 255, 3) * 0.5 + rng.uniform(0, 128)
    cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, colour.tolist(), -1, cv2.LINE_AA)
  for step in (2, 8, 32, 128):
    grain = rng.normal(0, 6, (_HEIGHT // step + 2, _WIDTH // step + 2, 1)).astype(np.float32)
    shade = cv2.resize(grain, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)[:, :, None]
    image += shade * (1 + step / 16) ** 0.5
  image = cv2.GaussianBlur(image, (0, 0), 0.7) + rng.normal(0, 2, image.shape)
  return image.clip(0, 255).astype(np.uint8)
