"""How fast a network infers on one device: logits of images that are already there.

Run as a module it measures once: `python -m nfnets.benchmarks.infer WORKLOAD`, which is JSON.
"""

import dataclasses
import json
import sys
from typing import Any

import jax

from nfnets.benchmarks.timing import matmul_rate, peak_memory, time_calls
from nfnets.benchmarks.workload import Speed, Workload, flops_of, read_workload
from nfnets.models.inspection import count_cost
from nfnets.models.zoo import create_model


def measure(workload: Workload) -> Speed:
  """Times inference in this process."""
  model, device = create_model(workload.model), jax.devices()[0]
  size = workload.size or model.variant.test_size
  params, state = model.init(jax.random.key(0))
  shape = (workload.batch_size, size, size, model.in_channels)
  images = jax.random.normal(jax.random.key(1), shape, workload.precision)

  @jax.jit
  def logits(params: Any, state: Any, images: jax.Array) -> jax.Array:
    return model.apply(params, state, None, images)[0]['logits']

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


if __name__ == '__main__':
  print(json.dumps(dataclasses.asdict(measure(read_workload(sys.argv[1])))))
