"""The shapes of arrays in files that someone else wrote."""

from collections.abc import Sequence

_MOST_AXES = 32
_LARGEST = 2**40


def is_shape(sizes: Sequence[object]) -> bool:
  """Whether NumPy can make an array of these sizes, if only the memory is there.

  A size of 0 does not make up for others that are gigantic: NumPy multiplies those all the same.
  """
  if len(sizes) > _MOST_AXES:
    return False
  product = 1
  for size in sizes:
    if type(size) is not int or not 0 <= size <= _LARGEST:
      return False
    product *= max(size, 1)
  return product <= _LARGEST
