"""The averages of batch normalization modules in the state of a network, Haiku's or ours."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from nfnets.batchnorm.moments import Moments
from nfnets.errors import InputError

State = Mapping[str, Mapping[str, Any]]
"""Module path -> {name: array}."""
Averages = dict[str, Moments]
"""Path of a batch normalization module -> its mean and variance."""

_MEAN, _VARIANCE = '/~/mean_ema', '/~/var_ema'


def norm_paths(state: State) -> tuple[str, ...]:
  """Paths of the batch normalization modules that keep averages in a state.

  Raises:
    InputError: there is none.
  """
  paths = [path.removesuffix(_MEAN) for path in state if path.endswith(_MEAN)]
  found = tuple(path for path in paths if path + _VARIANCE in state)
  if not found:
    raise InputError(f'state of {len(state)} modules: there is no batch normalization among them')
  return found


def average_paths(state: State) -> frozenset[str]:
  """Paths of the modules that hold those averages, two for each of `norm_paths`."""
  return frozenset(path + end for path in norm_paths(state) for end in (_MEAN, _VARIANCE))


def read_averages(state: State) -> Averages:
  """What evaluation normalizes by."""
  return {
    path: Moments(*(state[path + end]['average'] for end in (_MEAN, _VARIANCE)))
    for path in norm_paths(state)
  }


def write_averages(state: State, averages: Averages) -> dict[str, dict[str, Any]]:
  """A state of which evaluation normalizes by `averages`, in the dtypes that it had.

  Moving averages go on from where they were if the network is trained further.
  """
  new = {path: dict(leaves) for path, leaves in state.items()}
  for path, moments in averages.items():
    for end, value in zip((_MEAN, _VARIANCE), moments, strict=True):
      old = new[path + end]['average']
      new[path + end]['average'] = jnp.asarray(value).astype(old.dtype)
  return new


def reset_averages(state: State) -> dict[str, dict[str, Any]]:
  """A state whose moving averages have seen nothing yet."""
  fresh = average_paths(state)
  return {
    path: {name: jnp.zeros_like(x) if path in fresh else x for name, x in leaves.items()}
    for path, leaves in state.items()
  }


def mix_averages(state: State, batch_state: State, decay: float | jax.Array) -> dict[str, Any]:
  """One step of an exponential moving average: `decay * state + (1 - decay) * batch_state`.

  Of the averages that evaluation uses (section 3); with `with_decay(apply, 0)` for the statistics
  of each batch, one training run can be followed by averages of many decays.
  """
  old, new = read_averages(state), read_averages(batch_state)
  mixed = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, old, new)
  return write_averages(state, mixed)
