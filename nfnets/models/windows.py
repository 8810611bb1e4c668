"""The geometry of a convolution, apart from what is convolved."""

import dataclasses
from collections.abc import Sequence
from typing import Self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
  """Which pixels of an image a kernel meets, and in how many groups of channels."""

  image: tuple[int, int]
  """Height and width of the image that is convolved, in pixels."""
  kernel: tuple[int, int]
  """Height and width of the kernel."""
  stride: int = 1
  groups: int = 1
  symmetric_padding: bool = False
  """`h // 2` rows on both sides, as in PyTorch; otherwise 'SAME', as in TensorFlow and Haiku."""

  @classmethod
  def between(
    cls,
    images: Sequence[int],
    kernel: Sequence[int],
    *,
    stride: int,
    groups: int,
    symmetric_padding: bool,
  ) -> Self:
    """That of images and a kernel of these shapes, [N, H, W, C] and [h, w, C / groups, out]."""
    (_, height, width, _), (rows, columns, _, _) = images, kernel
    return cls(
      image=(height, width),
      kernel=(rows, columns),
      stride=stride,
      groups=groups,
      symmetric_padding=symmetric_padding,
    )

  @property
  def output(self) -> tuple[int, int]:
    """Height and width of the result."""
    return tuple(-(-size // self.stride) for size in self.image)  # pyright: ignore

  @property
  def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros before and behind the rows, and the columns."""
    return tuple(map(self._padding, self.image, self.kernel, self.output))  # pyright: ignore

  def _padding(self, size: int, side: int, steps: int) -> tuple[int, int]:
    if self.symmetric_padding:
      return side // 2, side // 2
    missing = max((steps - 1) * self.stride + side - size, 0)
    return missing // 2, missing - missing // 2
