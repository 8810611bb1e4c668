"""How a network is computed: what is kept for the backward pass, and what is compiled once."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import haiku as hk
import jax

from nfnets import names
from nfnets.errors import InputError
from nfnets.models.convolution import CONVOLUTION

_F = TypeVar('_F', bound=Callable[..., jax.Array])

REMAT_POLICIES = {
  'nothing': jax.checkpoint_policies.nothing_saveable,
  'convolutions': jax.checkpoint_policies.save_only_these_names(CONVOLUTION),
  'everything': jax.checkpoint_policies.everything_saveable,
}
"""What is kept inside of a rematerialized part, by name; the rest is computed a second time."""

_SCANNED_FROM = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
  """Choices that change time and memory, not results."""

  remat: Literal['block', 'stage'] | None = None
  """What is computed again in the backward pass from its input; None for nothing."""
  remat_policy: str = 'nothing'
  """Key of `REMAT_POLICIES`: what such a part keeps all the same."""
  scan_from: int | None = _SCANNED_FROM
  """That many equal blocks in a row are traced once, and compiled once as `equal_blocks` tells, so
  that deep networks take the time of shallow ones; None for never."""
  equal_blocks: Literal['loop', 'shared'] = 'loop'
  """What they are then: one `lax.scan`, or one function that is called for each of them.  On TPUs,
  by their compiler, calls run faster than a loop and take less memory; elsewhere calls are traced
  once but compiled each (docs/results/compile.md)."""

  def __post_init__(self):
    if self.remat not in (None, 'block', 'stage'):
      raise InputError(f"remat={self.remat!r} must be 'block', 'stage' or None")
    names.look_up(self.remat_policy, REMAT_POLICIES, argument='remat_policy')
    if self.scan_from is not None and self.scan_from < 2:
      raise InputError(f'scan_from={self.scan_from} must be 2 or more, or None')
    if self.equal_blocks not in ('loop', 'shared'):
      raise InputError(f"equal_blocks={self.equal_blocks!r} must be 'loop' or 'shared'")

  def rematerialized(self, part: str, function: _F) -> _F:
    """`function`, computed again in the backward pass if that is chosen for this kind of part."""
    if self.remat != part:
      return function
    remat: Any = hk.remat  # its types lose those of the function
    return remat(function, policy=REMAT_POLICIES[self.remat_policy])


DEFAULT_EXECUTION = Execution()
