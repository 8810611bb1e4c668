"""What scaled weight standardization makes of a kernel.

It and its gradient are primitives, so that each is given its form when it is lowered: on CPUs that
of the kernels of `nfnets.native` where these are in use, else the plain one; on accelerators that
which reads a kernel once for all sums.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from nfnets.models import native_standardization, one_pass_standardization
from nfnets.models.varying import vary_alike
from nfnets.native.lowering import register


@dataclasses.dataclass(frozen=True)
class Standardization:
  """Scaled weight standardization (Brock et al. 2021, arXiv 2101.08692, section 4).

  Called with a kernel [..., in, out] and a gain [out] it gives every output unit mean 0 and
  variance `(scale * gain)**2 / fan_in` over its inputs.  The variance is that of the population.
  """

  eps: float = 1e-4
  """Keeps a constant kernel finite: a lower bound of the variance times the fan-in."""
  eps_is_added: bool = False
  """`eps` is added to the variance instead."""
  scale: float = 1.0
  dtype: str | None = None
  """What it computes in, if the kernel has more precision; None for that of the kernel."""

  def __call__(self, kernel: jax.Array, gain: jax.Array) -> jax.Array:
    """The standardized kernel."""
    if self.dtype and jnp.finfo(self.dtype).bits < jnp.finfo(kernel.dtype).bits:
      kernel, gain = kernel.astype(self.dtype), gain.astype(self.dtype)
    if not native_standardization.serves(kernel, gain):
      return self.plain(kernel, gain)
    return _standardize.bind(*vary_alike(kernel, gain), rule=self)

  def plain(self, kernel: jax.Array, gain: jax.Array) -> jax.Array:
    """The same, as it is defined."""
    if kernel.ndim > 2 and kernel.shape[:-2] == (1,) * (kernel.ndim - 2):
      # With axes of size 1 in front, sums of the gradient take 10 to 20 times as long on CPUs.
      return self.plain(kernel.reshape(kernel.shape[-2:]), gain).reshape(kernel.shape)
    fan_in = np.prod(kernel.shape[:-1])
    axes = tuple(range(kernel.ndim - 1))
    mean = jnp.mean(kernel, axes, keepdims=True)
    variance = jnp.var(kernel, axes, keepdims=True)
    if self.eps_is_added:
      bounded = (variance + self.eps) * fan_in
    else:
      bounded = jnp.maximum(variance * fan_in, self.eps)
    # A scale of 1 leaves no trace: the gain keeps its dtype, the program its operations.
    scaled = gain if self.scale == 1 else gain * self.scale
    factor = jax.lax.rsqrt(bounded) * scaled
    # In the order of the released code: in bfloat16 another one moves logits by some percent.
    return kernel * factor - mean * factor


SCALED = Standardization()
"""As in the papers' released code."""


# Three functions of a kernel and a gain; the second and third are linear in what follows them, and
# each is the other's transpose.


def _plain(kernel: jax.Array, gain: jax.Array, *, rule: Standardization) -> jax.Array:
  return rule.plain(kernel, gain)


def _plain_tangent(
  kernel: jax.Array,
  gain: jax.Array,
  of_kernel: jax.Array,
  of_gain: jax.Array,
  *,
  rule: Standardization,
) -> jax.Array:
  """How the result moves with kernel and gain."""
  return jax.jvp(rule.plain, (kernel, gain), (of_kernel, of_gain))[1]


def _plain_cotangent(
  kernel: jax.Array, gain: jax.Array, cotangent: jax.Array, *, rule: Standardization
) -> tuple[jax.Array, ...]:
  """The gradient by kernel and gain, of a gradient by the result."""
  return jax.vjp(rule.plain, kernel, gain)[1](cotangent)


_standardize = Primitive('standardization')
_tangent = Primitive('standardization_tangent')
_cotangent = Primitive('standardization_gradient')
_cotangent.multiple_results = True

_PLAIN: dict[Primitive, Any] = {
  _standardize: _plain,
  _tangent: _plain_tangent,
  _cotangent: _plain_cotangent,
}
_ONE_PASS: dict[Primitive, Any] = {
  _standardize: one_pass_standardization.standardize,
  _tangent: _plain_tangent,
  _cotangent: one_pass_standardization.gradient,
}
_KERNELS: dict[Primitive, Any] = {
  _standardize: native_standardization.standardize,
  _tangent: _plain_tangent,
  _cotangent: native_standardization.gradient,
}


def _define(primitive: Primitive) -> None:
  plain = _PLAIN[primitive]

  def infer(kernel: Any, gain: Any, *others: Any, rule: Any) -> Any:
    del others, rule
    return [kernel, gain] if primitive.multiple_results else kernel

  def batch(arguments: Any, axes: Any, *, rule: Any) -> tuple[Any, Any]:
    result = jax.vmap(lambda *each: plain(*each, rule=rule), axes)(*arguments)
    return result, jax.tree.map(lambda _: 0, result)

  def differentiate(primals: Any, tangents: Any, *, rule: Any) -> tuple[Any, Any]:
    tangents = [ad.instantiate_zeros(tangent) for tangent in tangents]
    if primitive is _standardize:
      moved = _tangent.bind(*vary_alike(*primals, *tangents), rule=rule)
      return primitive.bind(*primals, rule=rule), moved
    return jax.jvp(lambda *each: plain(*each, rule=rule), tuple(primals), tuple(tangents))

  primitive.def_impl(jax.jit(primitive.bind, static_argnames='rule'))
  primitive.def_abstract_eval(infer)
  batching.primitive_batchers[primitive] = batch
  ad.primitive_jvps[primitive] = differentiate
  register(primitive, _ONE_PASS[primitive], _KERNELS[primitive], on_cpu=plain)


def _transpose_tangent(cotangent: Any, kernel: Any, gain: Any, *of: Any, rule: Any) -> list[Any]:
  unknown = [ad.is_undefined_primal(x) for x in of]
  if type(cotangent) is ad.Zero:
    found = [ad.Zero(x.aval) if ad.is_undefined_primal(x) else None for x in of]
  else:
    both = _cotangent.bind(*vary_alike(kernel, gain, cotangent), rule=rule)
    found = [x if wanted else None for x, wanted in zip(both, unknown, strict=True)]
  return [None, None, *found]


for _primitive in _PLAIN:
  _define(_primitive)
ad.primitive_transposes[_tangent] = _transpose_tangent
