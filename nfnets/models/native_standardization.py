"""Scaled weight standardization and its gradient in the kernels of `nfnets.native`.

Each reads a kernel from memory once, where XLA does it once for every sum and again for what is
made of them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def serves(kernel: jax.Array, gain: jax.Array) -> bool:
  """Whether there are kernels for these, of [..., in, out] and [out]."""
  is_served = kernel.dtype == gain.dtype == jnp.float32
  return is_served and kernel.ndim > 1 and gain.shape == kernel.shape[-1:] and kernel.size > 0


def standardize(kernel: jax.Array, gain: jax.Array, *, rule: Any) -> jax.Array:
  """See `Standardization`, which is the rule."""
  flat = _flat(kernel)
  call = jax.ffi.ffi_call('nfnets_standardization', jax.ShapeDtypeStruct(flat.shape, flat.dtype))
  return call(flat, gain, **_attributes(rule)).reshape(kernel.shape)


def gradient(
  kernel: jax.Array, gain: jax.Array, cotangent: jax.Array, *, rule: Any
) -> tuple[jax.Array, jax.Array]:
  """By kernel and gain, of a gradient by the result."""
  flat = _flat(kernel)
  shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (flat, gain)]
  call = jax.ffi.ffi_call('nfnets_standardization_gradient', shapes)
  by_kernel, by_gain = call(flat, gain, _flat(cotangent), **_attributes(rule))
  return by_kernel.reshape(kernel.shape), by_gain


def _attributes(rule: Any) -> dict[str, Any]:
  return {
    'eps': np.float32(rule.eps),
    'eps_is_added': rule.eps_is_added,
    'scale': np.float32(rule.scale),
  }


def _flat(kernel: jax.Array) -> jax.Array:
  """[..., in, out] -> [..., out]."""
  return kernel.reshape(-1, kernel.shape[-1])
