"""Arrays of one shape as one array, and back: for loops over equal blocks.

As `jnp.stack` and `jnp.unstack`, but that each is one operation on CPUs while the kernels of
`nfnets.native` are in use.  To XLA a stack taken apart is a slice for each array, all of which it
compiles: a thousand in the training step of NFNet-F6, more than half of the time that it takes.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from nfnets.models.varying import vary_alike
from nfnets.native.lowering import register


def stack(arrays: Sequence[jax.Array]) -> jax.Array:
  """[...] of each, all of one shape and dtype -> [n, ...]."""
  return _stack.bind(*vary_alike(*map(jnp.asarray, arrays)))


def unstack(array: jax.Array) -> list[jax.Array]:
  """[n, ...] -> [...] of each."""
  return _unstack.bind(array)


def _plain_stack(*arrays: jax.Array) -> jax.Array:
  return jnp.stack(arrays)


def _plain_unstack(array: jax.Array) -> list[jax.Array]:
  return list(jnp.unstack(array))


def _kernel_stack(*arrays: jax.Array) -> jax.Array:
  if not arrays[0].size:
    return _plain_stack(*arrays)
  shape = jax.ShapeDtypeStruct((len(arrays), *arrays[0].shape), arrays[0].dtype)
  return jax.ffi.ffi_call('nfnets_stack', shape)(*arrays)


def _kernel_unstack(array: jax.Array) -> list[jax.Array]:
  if not array.size:
    return _plain_unstack(array)
  shapes = [jax.ShapeDtypeStruct(array.shape[1:], array.dtype)] * len(array)
  return list(jax.ffi.ffi_call('nfnets_unstack', shapes)(array))


def _batch_stack(arrays: Any, axes: Any) -> tuple[jax.Array, int]:
  return jax.vmap(_plain_stack, axes)(*arrays), 0


def _batch_unstack(arrays: Any, axes: Any) -> tuple[list[jax.Array], list[int]]:
  parts = jax.vmap(_plain_unstack, axes)(*arrays)
  return parts, [0] * len(parts)


def _transpose_stack(cotangent: Any, *arrays: Any) -> list[Any]:
  wanted = [ad.is_undefined_primal(x) for x in arrays]
  if type(cotangent) is ad.Zero:
    return [ad.Zero(x.aval) if want else None for x, want in zip(arrays, wanted, strict=True)]
  parts = unstack(cotangent)
  return [part if want else None for part, want in zip(parts, wanted, strict=True)]


def _transpose_unstack(cotangents: Any, _: Any) -> list[Any]:
  return [stack([ad.instantiate_zeros(x) for x in cotangents])]


_stack = Primitive('stack')
_stack.def_impl(jax.jit(_stack.bind))
_stack.def_abstract_eval(lambda first, *rest: first.update(shape=(1 + len(rest), *first.shape)))
batching.primitive_batchers[_stack] = _batch_stack
ad.deflinear2(_stack, _transpose_stack)
register(_stack, _plain_stack, _kernel_stack)

_unstack = Primitive('unstack')
_unstack.multiple_results = True
_unstack.def_impl(jax.jit(_unstack.bind))
_unstack.def_abstract_eval(lambda x: [x.update(shape=x.shape[1:])] * x.shape[0])
batching.primitive_batchers[_unstack] = _batch_unstack
ad.deflinear2(_unstack, _transpose_unstack)
register(_unstack, _plain_unstack, _kernel_unstack)
