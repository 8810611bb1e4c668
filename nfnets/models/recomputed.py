"""Elementwise functions whose gradient keeps their input and nothing else.

Differentiated as it stands, a function such as GELU keeps what it computed on the way, a hyperbolic
tangent for each element, so that an array is written and read again that takes as much memory as
the features themselves.  On accelerators and CPUs alike that costs more than computing it twice.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from nfnets.models.varying import vary_alike

Function = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Recomputed:
  """A function of one array, elementwise, of which nothing but its input is kept.

  It may be differentiated any number of times, forwards and backwards.
  """

  function: Function
  slope: Function | None = None
  """Its derivative, where there is a faster form of that than the one JAX derives."""

  def __call__(self, x: jax.Array) -> jax.Array:
    """The same as `function(x)`; integers are taken as float32."""
    x = jnp.asarray(x)
    return _apply.bind(x.astype(jnp.result_type(x.dtype, float)), rule=self)

  def derivative(self, x: jax.Array) -> jax.Array:
    """Of each element."""
    if self.slope is not None:
      return self.slope(x)
    return jax.jvp(self.function, (x,), (jnp.ones_like(x),))[1]


def _plain(x: jax.Array, *, rule: Recomputed) -> jax.Array:
  return rule.function(x)


def _plain_tangent(x: jax.Array, moved: jax.Array, *, rule: Recomputed) -> jax.Array:
  """How the result moves with `x`: elementwise, so its transpose in `moved` is itself."""
  return jax.jvp(rule.function, (x,), (moved,))[1]


def _apart(x: jax.Array, moved: jax.Array, *, rule: Recomputed) -> jax.Array:
  """The same, of an `x` that compilers do not know, or they would keep what is equal.

  The slope is computed in float32 at least: in bfloat16 a difference such as `1 - tanh(x)**2` has
  few digits, and within one operation more of them cost nothing.
  """
  exact = lax.optimization_barrier(x).astype(jnp.promote_types(x.dtype, jnp.float32))
  return (rule.derivative(exact) * moved).astype(moved.dtype)


_apply = Primitive('recomputed')
_tangent = Primitive('recomputed_tangent')


def _define(primitive: Primitive, plain: Callable[..., jax.Array], form: Any) -> None:
  def batch(arguments: Any, axes: Any, *, rule: Recomputed) -> tuple[jax.Array, int]:
    return jax.vmap(functools.partial(plain, rule=rule), axes)(*arguments), 0

  primitive.def_impl(form)
  primitive.def_abstract_eval(lambda *arguments, rule: arguments[-1])
  batching.primitive_batchers[primitive] = batch
  mlir.register_lowering(primitive, mlir.lower_fun(form, multiple_results=False))


_define(_apply, _plain, _plain)
_define(_tangent, _plain_tangent, _apart)
# TPUs compute it again where it is read, in the same operation, and best where they may choose.
mlir.register_lowering(
  _tangent, mlir.lower_fun(_plain_tangent, multiple_results=False), platform='tpu'
)


def _differentiate(primals: Any, tangents: Any, *, rule: Recomputed) -> tuple[Any, Any]:
  (x,), (moved,) = primals, tangents
  moved = _tangent.bind(*vary_alike(x, ad.instantiate_zeros(moved)), rule=rule)
  return _apply.bind(x, rule=rule), moved


def _differentiate_tangent(primals: Any, tangents: Any, *, rule: Recomputed) -> tuple[Any, Any]:
  tangents = [ad.instantiate_zeros(tangent) for tangent in tangents]
  return jax.jvp(functools.partial(_plain_tangent, rule=rule), tuple(primals), tuple(tangents))


def _transpose(cotangent: Any, x: Any, moved: Any, *, rule: Recomputed) -> list[Any]:
  if type(cotangent) is ad.Zero:
    return [None, ad.Zero(moved.aval)]
  return [None, _tangent.bind(*vary_alike(x, cotangent), rule=rule)]


ad.primitive_jvps[_apply] = _differentiate
ad.primitive_jvps[_tangent] = _differentiate_tangent
ad.primitive_transposes[_tangent] = _transpose
