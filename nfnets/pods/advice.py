"""What to change where a step does not fit: in how large pieces, and what to compute again."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp

from nfnets.models.execution import Execution
from nfnets.models.memory import training_memory
from nfnets.training.config import Config
from nfnets.training.derived import Derived

_ACCUMULATED = 5 / 4  # beside four copies of the parameters, the gradients of all pieces so far


class Need(NamedTuple):
  """What a step needs of the memory of a device, as far as it was found out."""

  bytes: int
  """By the compiler."""
  available: int
  examples: int
  """Of a device."""
  at_once: int
  """Of these, in one piece."""


class Kept(NamedTuple):
  """What a network keeps for its backward pass, as `training_memory` counts."""

  fixed: int
  per_image: int
  per_image_again: int
  """If blocks are computed again."""


class Advice(NamedTuple):
  """Another way to take the same step."""

  flags: str
  """For the command line."""
  bytes: int | None
  """What it needs of a device, estimated; None where that is not known."""


def without_loops(depths: Sequence[int], execution: Execution) -> Advice | None:
  """Where equal blocks are loops: to do without, for a compiler keeps what loops save as stacks.

  Those of NFNet-F6 took 15 GiB with half as many images as with all (docs/results/pods.md): what
  pieces and recomputation would save there cannot be told.

  Args:
    depths: how many blocks each stage of the network has; the first differs from the others.
    execution: of the network.
  """
  scan_from = execution.scan_from
  if execution.equal_blocks != 'loop' or scan_from is None or max(depths) - 1 < scan_from:
    return None
  return Advice('--config.model.equal_blocks=shared', None)


def kept_by(config: Config, derived: Derived) -> Kept:
  """What the network of a run keeps as it is, and with its blocks computed again."""
  size, dtype = derived.train_geometry.size, jnp.dtype(config.precision)
  model = derived.model
  again = dataclasses.replace(model, execution=dataclasses.replace(model.execution, remat='block'))
  plain = training_memory(model, size, dtype)
  return Kept(plain.fixed, plain.per_image, training_memory(again, size, dtype).per_image)


def advise(need: Need, kept: Kept, remat: Literal['block', 'stage'] | None) -> list[Advice]:
  """The gentlest changes after which the step should fit; none if none of these is enough.

  What the compiler needs beyond the parameters and their like is taken to grow with the examples of
  a piece, and to shrink with what is kept for the backward pass.
  """
  ways = [_smaller_pieces(need, kept)]
  if remat is None:
    ways.append(_computed_again(need, kept))
  return [advice for advice in ways if advice is not None]


def _smaller_pieces(need: Need, kept: Kept) -> Advice | None:
  for examples in _pieces(need):
    needed = _estimate(need, kept, examples, share=1.0)
    if examples < need.at_once and needed <= need.available:
      return Advice(_in_pieces(examples), needed)
  return None


def _computed_again(need: Need, kept: Kept) -> Advice | None:
  share = kept.per_image_again / kept.per_image
  for examples in _pieces(need):
    needed = _estimate(need, kept, examples, share=share)
    if needed <= need.available:
      pieces = f' {_in_pieces(examples)}' if examples < need.at_once else ''
      return Advice(f'--config.model.remat=block{pieces}', needed)
  return None


def _estimate(need: Need, kept: Kept, examples: int, *, share: float) -> int:
  """Bytes with so many examples in a piece, for each of which `share` as much is kept."""
  fixed = min(kept.fixed, need.bytes)
  grows = (need.bytes - fixed) / need.at_once * examples * share
  accumulates = need.at_once == need.examples != examples
  return round(fixed * (_ACCUMULATED if accumulates else 1.0) + grows)


def _in_pieces(examples: int) -> str:
  return f'--config.micro_batch_size={examples}'


def _pieces(need: Need) -> list[int]:
  """Divisors of the examples of a device, the largest first, none larger than the pieces now."""
  return [n for n in range(need.at_once, 0, -1) if need.examples % n == 0]
