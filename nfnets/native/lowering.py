"""How a primitive gets its forms: chosen when a program is compiled, not when it is traced."""

from collections.abc import Callable
from typing import Any

from jax.extend.core import Primitive
from jax.interpreters import mlir

from nfnets.native.library import are_in_use

Form = Callable[..., Any]


def register(
  primitive: Primitive,
  default: Form,
  kernels: Form,
  *,
  on_cpu: Form | None = None,
  on_gpu: Form | None = None,
) -> None:
  """Lowers a primitive to one of its forms, all of which compute the same.

  Args:
    primitive: what is lowered; its operands and parameters are the arguments of the forms.
    default: that of every platform.
    kernels: that of CPUs while the kernels are in use, but for programs that are exported: who runs
      those need not have our kernels.
    on_cpu: that of CPUs otherwise; by default as everywhere.
    on_gpu: that of GPUs; by default as everywhere.
  """
  several = primitive.multiple_results
  without = default if on_cpu is None else on_cpu

  def lower_for_cpu(context: Any, *operands: Any, **parameters: Any) -> Any:
    exported = context.module_context.lowering_parameters.for_export
    form = kernels if are_in_use() and not exported else without
    return mlir.lower_fun(form, multiple_results=several)(context, *operands, **parameters)

  mlir.register_lowering(primitive, mlir.lower_fun(default, multiple_results=several))
  mlir.register_lowering(primitive, lower_for_cpu, platform='cpu')
  if on_gpu is not None:
    for platform in ('cuda', 'rocm'):
      lower = mlir.lower_fun(on_gpu, multiple_results=several)
      mlir.register_lowering(primitive, lower, platform=platform)
