"""How fast a network infers on one device: logits of images that are already there.

Run as a module it measures once: `python -m nfnets.benchmarks.infer WORKLOAD`, which is JSON.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

import jax

from nfnets.allocator import keep_freed_memory
from nfnets.benchmarks.timing import matmul_rate, peak_memory, time_calls
from nfnets.benchmarks.workload import Speed, Workload, flops_of, read_workload
from nfnets.models.folding import fold
from nfnets.models.inspection import count_cost
from nfnets.models.zoo import Model, create_model
from nfnets.native import use_kernels


def measure(workload: Workload) -> Speed:
  """Times inference in this process."""
  model, device = _model(workload), jax.devices()[0]
  params, state = model.init(jax.random.key(0))
  shapes = _images(model, workload)
  size = shapes.shape[1]
  images = jax.random.normal(jax.random.key(1), shapes.shape, shapes.dtype)
  if workload.folded:
    model, params, state = fold(model, params, state)
  logits = _logits(model)
  timing = time_calls(lambda: logits(params, state, images))
  return Speed(
    device=device.device_kind,
    size=size,
    seconds=timing.seconds,
    first_seconds=timing.first,
    flops=flops_of(count_cost(model, size).macs, workload, training=False),
    peak_memory=peak_memory(device),
    matmul_rate=matmul_rate(device, workload.precision),
  )


def make_program(workload: Workload) -> tuple[Any, Sequence[Any]]:
  """The jitted function that is timed, and the shapes of its arguments."""
  model = _model(workload)
  return _logits(model), (*model.shapes(), _images(model, workload))


def _model(workload: Workload) -> Model:
  return create_model(workload.model, execution=workload.execution)


def _images(model: Model, workload: Workload) -> jax.ShapeDtypeStruct:
  size = workload.size or model.variant.test_size
  shape = (workload.batch_size, size, size, model.in_channels)
  return jax.ShapeDtypeStruct(shape, workload.precision)


def _logits(model: Model) -> Any:
  @jax.jit
  def logits(params: Any, state: Any, images: jax.Array) -> jax.Array:
    return model.apply(params, state, None, images)[0]['logits']

  return logits


if __name__ == '__main__':
  keep_freed_memory()
  use_kernels()
  print(json.dumps(dataclasses.asdict(measure(read_workload(sys.argv[1])))))
