#!/usr/bin/env python3
"""Compiles a training step for an H100 that is not there, and tells what it reads and writes.

  pip install --no-deps jax-cuda12-plugin==$JAX jax-cuda12-pjrt==$JAX   # JAX: the version of jax
  docs/results/gpu_bytes.py --config=configs/nfnet.py:f0 --config.batch_size=256 --part=gradient

Needs no GPU: the compiler is told of one.  What it would choose by trying (cuDNN's algorithms, the
tiles of products) it takes by rules, and the space that those need is not in the figures.  Every
operation counts with what it reads and writes, all of which lies in the memory of the GPU.
"""

import collections
import importlib.util
import os
import re
import sys

os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} --xla_gpu_autotune_level=0'

import jax
from absl import flags
from jax._src import xla_bridge
from jax.experimental import topologies
from ml_collections import config_flags

from nfnets import command_line
from nfnets.pods import accounts
from nfnets.pods.parts import PARTS
from nfnets.training.derived import derive

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
IMAGENET = 1281167  # training images
FREE = {'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'after-all'}

CONFIG = config_flags.DEFINE_config_file('config', None, 'The recipe: a file with get_config().')
PART = flags.DEFINE_enum('part', 'step', list(PARTS), 'What is compiled.')
flags.mark_flag_as_required('config')


def gpu():
  """A device to compile for, which nothing can be put on."""
  if importlib.util.find_spec('jax_plugins') is None:
    sys.exit(f'the compiler for GPUs is not installed: see {__file__}')
  jax.config.update('jax_platforms', 'cpu')
  # JAX asks which GPU platform there is where it needs the name of one, and there is none.
  known = xla_bridge.canonicalize_platform
  xla_bridge.canonicalize_platform = lambda name: 'cuda' if name == 'gpu' else known(name)
  topology = topologies.get_topology_desc(platform='cuda', target_config=H100, topology='1x1x1')
  return topology.devices[0]


def traffic(program: str) -> collections.Counter:
  """Kind of operation -> bytes, of a program as text; what a loop does counts in every round."""
  computations, entry = accounts._read(program)
  lines = dict(re.findall(r'^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$', program, re.MULTILINE))
  total = collections.Counter()

  def add(name: str, rounds: int) -> None:
    body = computations[name]
    for one in body.values():
      if one.operation in FREE:
        continue
      if one.operation == 'while':
        again = accounts._rounds(computations[one.attribute('condition')])
        add(one.attribute('body'), rounds * again)
        continue
      if one.operation == 'call':
        add(one.attribute('to_apply'), rounds)
        continue
      kind = re.search(r'(?:kind|custom_call_target)="?([\w$]+)', lines[one.name])
      sizes = [body[operand].whole for operand in one.operands if operand in body]
      named = f'{one.operation} {kind[1] if kind else ""}'.strip()
      total[named] += rounds * (one.whole + sum(sizes))

  add(entry, 1)
  return total


def main(argv: list[str]) -> None:
  """Compiles and tells."""
  if argv[1:]:
    sys.exit(f'{argv[1]!r} is no flag')
  derived = derive(CONFIG.value, IMAGENET)
  mapped = PARTS[PART.value](CONFIG.value, derived, [gpu()])
  compiled = mapped.function.lower(*mapped.shapes).compile()
  total = traffic(compiled.as_text())
  for kind, count in total.most_common():
    print(f'{count / 1e9:8.2f} GB  {kind}')
  memory = compiled.memory_analysis()
  print(f'{sum(total.values()) / 1e9:8.2f} GB  in all')
  print(f'{memory.temp_size_in_bytes / 1e9:8.2f} GB  temporaries')


if __name__ == '__main__':
  command_line.run(main)
