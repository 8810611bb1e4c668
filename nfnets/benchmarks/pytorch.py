"""The same work in PyTorch with timm's network; nothing else here needs either.

Activations are in the precision asked for; training with Nesterov momentum, timm's own adaptive
gradient clipping and a moving average of the parameters, as ours.  Inference has all weights in
that precision.

Run as a module it measures once: `python -m nfnets.benchmarks.pytorch train|infer WORKLOAD`; with
`ways` it names those of computing it that are worth a trial here.
"""

# pyright: reportMissingImports=false
import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

import torch

from nfnets.allocator import keep_freed_memory
from nfnets.benchmarks.timing import (
  SECONDS,
  matrix_side,
  process_memory,
  product_rate,
  time_calls,
)
from nfnets.benchmarks.timm_library import timm
from nfnets.benchmarks.workload import Speed, Workload, flops_of, read_workload
from nfnets.models.inspection import count_cost
from nfnets.models.zoo import create_model
from nfnets.training.config import Config

_Step = Callable[[], Any]
_LAYOUTS = {'channels_last': torch.channels_last, 'contiguous': torch.contiguous_format}
_STAND_INS = ('haiku.experimental.flax', 'haiku._src.no_flax')
_WAYS = {
  'cpu': {'layout': ['channels_last', 'contiguous'], 'compiler': ['default', 'none']},
  'cuda': {'layout': ['channels_last'], 'compiler': ['default']},
}
"""On a CPU none of them is always the fastest."""


def timm_name(name: str) -> str:
  """What timm calls a network of ours: DeepMind's F0 is its 'dm_nfnet_f0'."""
  return f'dm_{name}' if name.startswith('nfnet_f') else name.removeprefix('timm_')


def measure(kind: str, workload: Workload) -> Speed:
  """Times training steps or inference in this process."""
  model = create_model(workload.model)
  training = kind == 'train'
  size = workload.size or (model.variant.train_size if training else model.variant.test_size)
  device = _device()
  layout = _LAYOUTS[workload.layout or 'channels_last']
  torch.manual_seed(0)
  torch.backends.cudnn.benchmark = True  # as timm's own benchmark has it
  network = timm.create_model(
    timm_name(workload.model),
    drop_rate=model.variant.drop_rate,
    drop_path_rate=model.variant.stochdepth_rate,
  ).to(device, memory_format=layout)
  images = torch.randn(workload.batch_size, 3, size, size, device=device)
  images = images.to(memory_format=layout)
  make = _training if training else _inference
  timing = time_calls(make(network, images, workload), lambda _: _wait(device))
  return Speed(
    device=torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu',
    size=size,
    seconds=timing.seconds,
    first_seconds=timing.first,
    flops=flops_of(count_cost(model, size).macs, workload, training=training),
    peak_memory=_peak_memory(device),
    matmul_rate=_matmul_rate(device, _dtype(workload)),
  )


def _training(network: torch.nn.Module, images: torch.Tensor, workload: Workload) -> _Step:
  network.train()
  forward, config = _compiled(network, workload), Config().optimizer
  labels = torch.randint(0, 1000, (len(images),), device=images.device)
  optimizer = torch.optim.SGD(
    network.parameters(),
    lr=config.learning_rate,
    momentum=config.momentum,
    nesterov=config.nesterov,
    weight_decay=config.weight_decay or 0.0,
  )
  average = torch.optim.swa_utils.AveragedModel(
    network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema_decay)
  )
  clipped = [p for name, p in network.named_parameters() if 'head.fc.weight' not in name]
  mixed = _dtype(workload) != torch.float32

  def step() -> torch.Tensor:
    optimizer.zero_grad()
    with torch.autocast(images.device.type, _dtype(workload), enabled=mixed):
      logits = forward(images)
      loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    loss.backward()
    timm.utils.agc.adaptive_clip_grad(clipped, config.clipping, config.clip_eps)
    optimizer.step()
    average.update_parameters(network)
    return loss

  return step


def _inference(network: torch.nn.Module, images: torch.Tensor, workload: Workload) -> _Step:
  dtype = _dtype(workload)
  forward, images = _compiled(network.eval().to(dtype), workload), images.to(dtype)

  def step() -> torch.Tensor:
    with torch.inference_mode():
      return forward(images)

  return step


def _compiled(network: torch.nn.Module, workload: Workload) -> Callable[..., torch.Tensor]:
  if workload.compiler == 'none':
    return network
  # Torch asks every module for names it pickles; Haiku's stand-in for flax, which nobody needs
  # here, answers with an error that is no AttributeError.
  for module in [name for name in sys.modules if name.startswith(_STAND_INS)]:
    del sys.modules[module]
  return torch.compile(network, mode=workload.compiler or 'default')


def _device() -> torch.device:
  return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def _dtype(workload: Workload) -> torch.dtype:
  return getattr(torch, workload.precision)


def _matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
  side = matrix_side(device.type)
  a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
  timing = time_calls(lambda: a @ b, lambda _: _wait(device), seconds=SECONDS / 4)
  return product_rate(side, timing)


def _peak_memory(device: torch.device) -> int:
  return torch.cuda.max_memory_allocated() if device.type == 'cuda' else process_memory()


def _wait(device: torch.device) -> None:
  if device.type == 'cuda':
    torch.cuda.synchronize()


if __name__ == '__main__':
  keep_freed_memory()
  if sys.argv[1] == 'ways':
    print(json.dumps(_WAYS[_device().type]))
  else:
    print(json.dumps(dataclasses.asdict(measure(sys.argv[1], read_workload(sys.argv[2])))))
