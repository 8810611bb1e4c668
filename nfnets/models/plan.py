"""Where each residual block sits in its network: stride, beta, depth.  No JAX.

This is the only copy of the variance bookkeeping of normalizer-free networks (Brock et al. 2021,
arXiv 2101.08692, section 3; arXiv 2102.06171, appendix C).
"""

import dataclasses
from collections.abc import Iterator, Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
  """The position of one residual block in its network."""

  index: int
  """Counted from 0 at the first block of the first stage."""
  num_blocks: int
  """Blocks in the whole network."""
  stage: int
  """Counted from 0."""
  in_channels: int
  out_channels: int
  stride: int
  starts_stage: bool
  """Whether it is the first block of its stage."""
  variance: float
  """Of the block's input at initialization, as the analysis predicts it."""

  @property
  def beta(self) -> float:
    """What the input is multiplied by to have unit variance."""
    return self.variance**-0.5

  @property
  def needs_projection(self) -> bool:
    """Whether the shortcut changes shape."""
    return self.stride > 1 or self.in_channels != self.out_channels

  @property
  def depth_fraction(self) -> float:
    """0 at the first block, towards 1 at the last: the ramp of stochastic depth."""
    return self.index / self.num_blocks


def walk(
  stem_channels: int,
  *,
  widths: Sequence[int],
  depths: Sequence[int],
  strides: Sequence[int],
  alpha: float,
) -> Iterator[Place]:
  """Yields the `Place` of every block in order, tracking the variance of the residual stream.

  A branch adds `alpha**2`; for networks that do not track the variance give `alpha` 0.  The first
  block of a stage puts its normalized input on the shortcut, so the stream leaves it with variance
  `1 + alpha**2` whatever came before.
  """
  index, in_channels, variance = 0, stem_channels, 1.0
  for stage, (width, depth, stride) in enumerate(zip(widths, depths, strides, strict=True)):
    for block in range(depth):
      yield Place(
        index=index,
        num_blocks=sum(depths),
        stage=stage,
        in_channels=in_channels,
        out_channels=width,
        stride=stride if block == 0 else 1,
        starts_stage=block == 0,
        variance=variance,
      )
      variance = (1.0 if block == 0 else variance) + alpha**2
      index, in_channels = index + 1, width
