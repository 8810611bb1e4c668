"""The one check of numbers that people give."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from nfnets.errors import InputError


def check_number(
  name: str,
  value: object,
  *,
  above: float | None = None,
  at_least: float | None = None,
  below: float | None = None,
  at_most: float | None = None,
) -> None:
  """Raises `InputError` unless `value` is one finite number within the bounds.

  Scalar arrays are numbers too.  A traced value (an injected hyperparameter under `jit`) has no
  value yet and is let through.
  """
  if isinstance(value, Tracer):
    return
  bounds = (
    ('>', above, np.greater),
    ('>=', at_least, np.greater_equal),
    ('<', below, np.less),
    ('<=', at_most, np.less_equal),
  )
  given = [(sign, bound, holds) for sign, bound, holds in bounds if bound is not None]
  number = _as_number(value)
  if np.isfinite(number) and all(holds(number, bound) for _, bound, holds in given):
    return
  wanted = ' and '.join(f'{sign} {bound}' for sign, bound, _ in given)
  raise InputError(f'{name}={value!r}: must be one finite number {wanted}'.rstrip())


def _as_number(value: object) -> float:
  """The value as a float, or NaN where it is no single number (text, None, a vector)."""
  array = np.asarray(value)
  is_number = array.ndim == 0 and array.dtype != bool and jnp.isdtype(array.dtype, 'numeric')
  return float(array) if is_number else np.nan
