"""In which order a run sees its records, and where its random numbers come from.

Both are functions of the seed and of a place in the run alone.  They use nothing but the raw output
of Philox, which NumPy promises not to change, so that a run can be resumed with a later NumPy.
"""

import functools
import threading

import numpy as np

_EPOCHS, _EXAMPLES = 0, 1  # what counters of one key are used for
_LOCK = threading.Lock()


def shuffled(count: int, seed: int, places: np.ndarray) -> np.ndarray:
  """The numbers of the records at some places of an endless run: int64, 0 .. count - 1.

  Every stretch of `count` places, an epoch, is a permutation of its own.
  """
  epochs, within = np.divmod(places, count)
  numbers = np.empty(len(places), np.int64)
  for epoch in np.unique(epochs):
    with _LOCK:  # threads wait for the one that makes it
      order = _permutation(count, seed, int(epoch))
    numbers[epochs == epoch] = order[within[epochs == epoch]]
  return numbers


@functools.lru_cache(maxsize=3)  # the end of one epoch, the beginning of the next, another split
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
  keys = _philox(seed, _EPOCHS, epoch).random_raw(count)
  return np.argsort(keys, kind='stable').astype(np.min_scalar_type(count))


class Draws:
  """Random numbers for one example after the other; each has its own, whoever makes it."""

  def __init__(self, seed: int):
    """For a run of this seed."""
    self._bits = _philox(seed, _EXAMPLES, 0)
    self._state = self._bits.state  # setting it is much quicker than making a generator
    self._rng = np.random.Generator(self._bits)

  def at(self, place: int) -> np.random.Generator:
    """The random numbers of the image at this place of the run, until the next call."""
    self._state['state']['counter'][3] = place
    self._bits.state = self._state
    return self._rng


def _philox(seed: int, purpose: int, number: int) -> np.random.Philox:
  return np.random.Philox(key=[seed, 0], counter=[0, 0, purpose, number])
