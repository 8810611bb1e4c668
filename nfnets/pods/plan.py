"""A run on a pod, planned: whether it fits, and how long it takes at best."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from nfnets.models.inspection import count_cost
from nfnets.pods.advice import Advice, Need, advise, kept_by, without_loops
from nfnets.pods.compiler import Compiled, OutOfMemory, compile_for, tpu_devices
from nfnets.pods.parts import PARTS
from nfnets.pods.topologies import Topology
from nfnets.training.config import Config
from nfnets.training.derived import Derived, check_batch, derive

_FORWARD, _BACKWARD = 1, 2  # a backward pass has twice the operations of a forward pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """One step on a pod, by the compiler's account; bytes and operations of one device."""

  model: str
  topology: Topology
  part: str
  """Key of `PARTS`."""
  size: int
  """Side of the images in pixels."""
  examples: int
  """Of a device in one step."""
  examples_at_once: int
  flops: float
  """Of the network's convolutions and matrix products: forward, what is computed again, backward,
  and what SAM adds."""
  model_flops: float
  """Of these one forward and one backward pass."""
  steps_per_epoch: float
  total_steps: int
  compiled: Compiled | OutOfMemory
  advice: Sequence[Advice] = ()
  """If it does not fit: what would make it."""

  @property
  def fits(self) -> bool:
    """Whether the memory of a device suffices."""
    needed = self.memory
    return needed is not None and needed <= self.available

  @property
  def memory(self) -> int | None:
    """Bytes that the step needs at most; None where the compiler gave up without telling."""
    compiled = self.compiled
    return compiled.needed if isinstance(compiled, OutOfMemory) else compiled.memory

  @property
  def available(self) -> int:
    """Bytes that a device has for it."""
    told = self.compiled.available if isinstance(self.compiled, OutOfMemory) else None
    return told or self.topology.chip.memory

  @property
  def flops_seconds(self) -> float:
    """A step at the peak rate."""
    return self.flops / self.topology.chip.flops

  @property
  def bytes_seconds(self) -> float:
    """A step at the peak bandwidth; NaN where it was not compiled."""
    return self._compiled('bytes_moved') / self.topology.chip.bandwidth

  @property
  def best_seconds(self) -> float:
    """A step by the roofline: operations or memory at their peak, whichever takes longer."""
    return max(self.flops_seconds, self.bytes_seconds)

  @property
  def expected_seconds(self) -> float:
    """A step by the compiler's count of cycles, without what devices tell each other."""
    return self._compiled('cycles') / self.topology.chip.clock

  def _compiled(self, name: str) -> float:
    return math.nan if isinstance(self.compiled, OutOfMemory) else getattr(self.compiled, name)

  def images_per_second(self, step_seconds: float) -> float:
    """Of all devices, if a step takes so long."""
    return self.examples * self.topology.devices / step_seconds

  def as_json(self) -> dict[str, Any]:
    """All of it, with what follows from it."""
    follows = (
      'fits', 'memory', 'available', 'flops_seconds', 'bytes_seconds', 'best_seconds',
      'expected_seconds',
    )  # fmt: skip
    return dataclasses.asdict(self) | {
      'topology': str(self.topology),
      'devices': self.topology.devices,
      'advice': [advice._asdict() for advice in self.advice],
      **{name: getattr(self, name) for name in follows},
    }


def plan_run(
  config: Config,
  topology: Topology,
  examples: int,
  *,
  part: str = 'step',
  progress: Callable[[str], None] = lambda line: None,
) -> Plan:
  """Compiles one step of a run, or a part of it, for a pod.

  Args:
    config: the run.
    topology: the pod.
    examples: in an epoch.
    part: key of `PARTS`.
    progress: is told when compiling begins.

  Raises:
    InputError: the config is wrong or does not go with the pod, or there is no compiler.
  """
  derived = derive(config, examples)
  check_batch(config, derived, topology.devices)
  mapped = PARTS[part](config, derived, tpu_devices(topology))
  each = config.batch_size // topology.devices
  size = derived.train_geometry.size
  progress(f'compiling for {topology}: minutes for a small network, an hour for a large one')
  forward = 2.0 * count_cost(derived.model, size).macs * each
  plan = Plan(
    model=config.model.name,
    topology=topology,
    part=part,
    size=size,
    examples=each,
    examples_at_once=min(config.micro_batch_size or each, each),
    flops=forward * _passes(config),
    model_flops=forward * (_FORWARD + _BACKWARD),
    steps_per_epoch=derived.steps_per_epoch,
    total_steps=derived.total_steps,
    compiled=compile_for(mapped.function, mapped.shapes),
  )
  return plan if plan.fits else dataclasses.replace(plan, advice=_advice(plan, config, derived))


def _passes(config: Config) -> float:
  """How often a step has the operations of a forward pass."""
  again = config.model.remat is not None and config.model.remat_policy == 'nothing'
  sam = config.optimizer
  ascents = 0.0 if sam.sam_rho is None else sam.sam_share
  return (_FORWARD * (2 if again else 1) + _BACKWARD) * (1 + ascents)


def _advice(plan: Plan, config: Config, derived: Derived) -> Sequence[Advice]:
  model = derived.model
  loops = without_loops(model.variant.depths, model.execution)
  if loops is not None:
    return (loops,)
  if plan.memory is None:
    return ()
  need = Need(plan.memory, plan.available, plan.examples, plan.examples_at_once)
  return advise(need, kept_by(config, derived), config.model.remat)
