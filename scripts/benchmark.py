#!/usr/bin/env python3
"""Measures how fast the program is on this machine.

Examples:
  scripts/benchmark.py train --model=nfnet_f0 --batch_size=256 --json=train.json
  scripts/benchmark.py infer --model=nfnet_f0 --batch_size=8 --precision=float32 --against=timm
  scripts/benchmark.py step --model=nfnet_f0 --batch_size=256 --part=plain --part=augmented
  scripts/benchmark.py infer --model=nfnet_f0 --folded --batch_size=8 --precision=float32
  scripts/benchmark.py compile --model=nfnet_f0 --model=nfnet_f6 --batch_size=2 --size=64
  scripts/benchmark.py kernels --model=nfnet_f0
  scripts/benchmark.py init --model=nfnet_f0 --model=nfnet_f6
  scripts/benchmark.py load --model=nfnet_f0
  scripts/benchmark.py input --size=192 --batch_size=256 --threads=2
  scripts/benchmark.py input --dataset=cifar10 --data_dir=data --size=32 --padding=4
  scripts/benchmark.py input_memory --dataset=digits --data_dir=data --size=8

train, infer: images a second of the training step and of inference, on images that are already on
  the device; --against=timm runs timm's network in PyTorch as well, the processes in turns.  On
  a CPU it is tried in both memory layouts, compiled and not, and the fastest is compared.
step: what augmentation, SAM and micro-batches add to a training step, all in one process.
compile: seconds to trace and to compile the training step and inference in a fresh process.
convolutions: each kind of convolution and its gradients, beside XLA's own; needs no flags.
kernels: the update of the parameters and the standardization of the weights by the kernels for
  CPUs, beside XLA's form.
init: seconds of `model.init` in a fresh process, compilation included; the networks take turns.
load: seconds and memory of `load_weights` in a fresh process, from every kind of file (Linux).
input: images a second that the loader decodes, crops, resizes and mirrors: of a prepared dataset,
  or of JPEG files of 500 x 375 pixels, parts of pictures that look like photographs, or of your own
  ones in --photos=DIR.  --against=tf.data does the same in TensorFlow, in turns.
input_memory: what the process holds while it loads batches (Linux).
"""

import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from nfnets import command_line
from nfnets.allocator import keep_freed_memory
from nfnets.benchmarks import (
  compile,
  convolutions,
  init,
  input,
  input_memory,
  kernels,
  load,
  speeds,
  step,
)
from nfnets.benchmarks.workload import Workload
from nfnets.data.folders import find_dataset
from nfnets.data.images import TrainGeometry
from nfnets.data.records import Records, open_records
from nfnets.errors import InputError
from nfnets.models.execution import DEFAULT_EXECUTION, Execution
from nfnets.models.variants import find_variant
from nfnets.native import use_kernels
from nfnets.output_files import check_writable, write_text

MODEL = flags.DEFINE_multi_string('model', [], 'A network; may be given several times.')
REPEATS = flags.DEFINE_integer('repeats', 5, 'Processes for each network.', lower_bound=1)
JSON = flags.DEFINE_string('json', None, 'Also write the measurements to this file.')
BATCH_SIZE = flags.DEFINE_integer('batch_size', 32, 'Images, over all devices.', lower_bound=1)
SIZE = flags.DEFINE_integer(
  'size', None, "Side of the images in pixels; the network's own by default.", lower_bound=1
)
PRECISION = flags.DEFINE_enum(
  'precision', 'bfloat16', ['float32', 'bfloat16'], 'Of the activations.'
)
DEVICES = flags.DEFINE_integer('devices', 1, 'Devices that train together.', lower_bound=1)
AGAINST = flags.DEFINE_enum(
  'against', None, ['timm', 'tf.data'], 'Whose network or loader to measure as well.'
)
COMPILER = flags.DEFINE_string(
  'torch_compile', None, "Mode of torch.compile, or 'none'; by default what is faster."
)
LAYOUT = flags.DEFINE_enum(
  'torch_layout', None, ['channels_last', 'contiguous'],
  "Of timm's images in memory; by default what is faster.",
)  # fmt: skip
FOLDED = flags.DEFINE_bool('folded', False, 'Fold our network first: nfnets.fold.')
SCAN_FROM = flags.DEFINE_multi_integer(
  'scan_from', [DEFAULT_EXECUTION.scan_from or 0],
  'So many equal blocks are one loop; 0 for never; may be given several times.', lower_bound=0,
)  # fmt: skip
PROGRAM = flags.DEFINE_multi_enum(
  'program', list(compile.PROGRAMS), list(compile.PROGRAMS), 'What is compiled.'
)
PART = flags.DEFINE_multi_enum(
  'part', list(step.PARTS), list(step.PARTS), 'Of a step; the first is what others are compared to.'
)
DATASET = flags.DEFINE_string(
  'dataset', None, 'A prepared dataset to load, for input and input_memory.'
)
DATA_DIR = flags.DEFINE_string('data_dir', None, 'Where prepared datasets lie.')
PHOTOS = flags.DEFINE_string('photos', None, 'A folder of photographs of which parts are loaded.')
PADDING = flags.DEFINE_integer(
  'padding', None, 'Cut images out of a frame of so many zeros, not distorted parts.', lower_bound=0
)
THREADS = flags.DEFINE_integer('threads', 2, 'That load.', lower_bound=1)
WORKERS = flags.DEFINE_integer('workers', 0, 'Processes that load, 0 for this one.', lower_bound=0)
STEPS = flags.DEFINE_integer('steps', 10_000, 'Batches for input_memory.', lower_bound=100)

_INPUT_SIZE = 192
_PEERS = {'train': 'timm', 'infer': 'timm', 'input': 'tf.data'}


def main(argv: list[str]) -> None:
  """Measures."""
  keep_freed_memory()
  use_kernels()
  if len(argv) != 2 or argv[1] not in _BENCHMARKS:
    raise InputError(
      f'name what to measure, {" or ".join(_BENCHMARKS)}, not {" ".join(argv[1:])!r}: '
      'benchmark.py init --model=nfnet_f0'
    )
  _check_flags(argv[1])
  if MODEL in _READS[argv[1]] and not MODEL.value:
    raise InputError(f'{argv[1]} needs --model=NAME')
  if AGAINST.value not in (None, _PEERS.get(argv[1])):
    peer = _PEERS.get(argv[1], 'nothing else')
    raise InputError(f'--against={AGAINST.value}: {argv[1]} is measured against {peer}')
  for name in MODEL.value:
    find_variant(name)
  check_writable('--json', JSON.value)
  measured, table = _BENCHMARKS[argv[1]]()
  if JSON.value is not None:
    write_text('--json', JSON.value, json.dumps(measured, indent=2) + '\n')
  print(table)


def _check_flags(measurement: str) -> None:
  """That every flag that was given is read."""
  read = {flag.name for flag in _READS[measurement]}
  for flag in itertools.chain(*_READS.values()):
    if flag.present and flag.name not in read:
      right = ', '.join(f'--{name}' for name in [*sorted(read), 'json'])
      raise InputError(f'--{flag.name}: {measurement} does not use it; it has {right}')
  for flag in (LAYOUT, COMPILER):
    if flag.value is not None and AGAINST.value is None:
      raise InputError(f'--{flag.name}={flag.value} means nothing without --against=timm')


def _init() -> tuple[Any, str]:
  measured = init.measure(MODEL.value, REPEATS.value, progress=_tell)
  return measured, init.markdown(measured)


def _load() -> tuple[Any, str]:
  measured = load.measure(MODEL.value, REPEATS.value, progress=_tell)
  return measured, load.markdown(measured)


def _compile() -> tuple[Any, str]:
  _check_devices()
  measured = compile.measure(_workloads(), PROGRAM.value, REPEATS.value, progress=_tell)
  as_json = {row: [value._asdict() for value in values] for row, values in measured.items()}
  return as_json, compile.markdown(measured)


def _convolutions() -> tuple[Any, str]:
  measured, rate = convolutions.measure(), convolutions.product_rate()
  as_json = {'matmul': rate, 'layers': list(map(dataclasses.asdict, measured))}
  return as_json, convolutions.markdown(measured, rate)


def _kernels() -> tuple[Any, str]:
  measured = kernels.measure(MODEL.value, progress=_tell)
  return list(map(dataclasses.asdict, measured)), kernels.markdown(measured)


def _train() -> tuple[Any, str]:
  _check_devices()
  return _speeds('train')


def _step() -> tuple[Any, str]:
  _check_devices()
  measured = step.measure(_workloads(), PART.value, progress=_tell)
  return list(map(dataclasses.asdict, measured)), step.markdown(measured)


def _check_devices() -> None:
  if BATCH_SIZE.value % DEVICES.value:
    raise InputError(f'--batch_size={BATCH_SIZE.value} is no multiple of --devices={DEVICES.value}')
  if DEVICES.value > 1 and AGAINST.value:
    raise InputError(f'--devices={DEVICES.value}: timm is measured on one device')


def _infer() -> tuple[Any, str]:
  return _speeds('infer')


def _speeds(kind: speeds.Kind) -> tuple[Any, str]:
  measured = speeds.measure(
    kind, _workloads(), REPEATS.value, against_timm=AGAINST.value == 'timm', progress=_tell
  )
  return measured, speeds.markdown(measured)


def _workloads() -> list[Workload]:
  return [
    Workload(
      model=name,
      batch_size=BATCH_SIZE.value,
      size=SIZE.value,
      precision=PRECISION.value,
      devices=DEVICES.value,
      folded=FOLDED.value,
      scan_from=Execution(scan_from=scan_from or None).scan_from,
      layout=LAYOUT.value,
      compiler=COMPILER.value,
    )
    for name in MODEL.value
    for scan_from in SCAN_FROM.value
  ]


def _input() -> tuple[Any, str]:
  geometry, loader = _geometry(), _loader()
  if DATASET.value is not None:
    if AGAINST.value is not None:
      raise InputError(f'--against={AGAINST.value} is not for --dataset={DATASET.value}')
    measured = input.measure(_records(), geometry, loader, REPEATS.value, progress=_tell)
  else:
    measured = input.measure_photographs(
      PHOTOS.value,
      geometry,
      loader,
      REPEATS.value,
      against_tensorflow=AGAINST.value == 'tf.data',
      progress=_tell,
    )
  as_json = {name: list(map(dataclasses.asdict, speeds)) for name, speeds in measured.items()}
  return as_json, input.markdown(measured)


def _input_memory() -> tuple[Any, str]:
  seen = input_memory.measure(_records(), _geometry(), _loader(), STEPS.value, progress=_tell)
  return dataclasses.asdict(seen), input_memory.markdown(seen)


def _records() -> Records:
  if DATASET.value is None or DATA_DIR.value is None:
    raise InputError('name a prepared dataset: --dataset=cifar10 --data_dir=data')
  dataset = find_dataset(DATASET.value, DATA_DIR.value)
  return open_records(DATA_DIR.value, dataset, dataset.train_split)


def _geometry() -> TrainGeometry:
  return TrainGeometry(size=SIZE.value or _INPUT_SIZE, padding=PADDING.value)


def _loader() -> input.Loader:
  return input.Loader(batch_size=BATCH_SIZE.value, threads=THREADS.value, workers=WORKERS.value)


def _tell(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


_BENCHMARKS: dict[str, Callable[[], tuple[Any, str]]] = {
  'train': _train,
  'infer': _infer,
  'step': _step,
  'compile': _compile,
  'convolutions': _convolutions,
  'kernels': _kernels,
  'init': _init,
  'load': _load,
  'input': _input,
  'input_memory': _input_memory,
}
_NETWORK = (MODEL, BATCH_SIZE, SIZE, PRECISION, SCAN_FROM)
_PEER = (AGAINST, LAYOUT, COMPILER)
_LOADER = (BATCH_SIZE, SIZE, DATASET, DATA_DIR, PADDING, THREADS, WORKERS)
_READS: dict[str, Sequence[flags.FlagHolder]] = {
  'train': (*_NETWORK, REPEATS, DEVICES, *_PEER),
  'infer': (*_NETWORK, REPEATS, FOLDED, *_PEER),
  'step': (*_NETWORK, DEVICES, PART),
  'compile': (*_NETWORK, REPEATS, DEVICES, PROGRAM),
  'convolutions': (),
  'kernels': (MODEL,),
  'init': (MODEL, REPEATS),
  'load': (MODEL, REPEATS),
  'input': (*_LOADER, REPEATS, PHOTOS, AGAINST),
  'input_memory': (*_LOADER, STEPS),
}
"""The flags that a measurement reads, beside --json; others are refused."""


if __name__ == '__main__':
  command_line.run(main)
