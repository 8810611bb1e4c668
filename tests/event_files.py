"""What TensorBoard would find in a folder: its files are TFRecords."""

import struct
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event


def read_events(folder: Path) -> Iterator[Event]:
  for file in sorted(folder.iterdir()):
    data = file.read_bytes()
    while data:
      (length,) = struct.unpack('<Q', data[:8])
      yield Event.FromString(data[12 : 12 + length])
      data = data[16 + length :]


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
  """(tag, step, value) of every scalar."""
  for event in read_events(folder):
    yield from ((v.tag, event.step, v.simple_value) for v in event.summary.value)
