"""How a convolution is computed: one function, the same result on every platform.

A convolution and its two gradients are primitives here, so that each of the three is given its form
when it is lowered for a platform, not when this module is imported.  Accelerators get XLA's own
convolution, GPUs with a form of their own for one gradient (`gpu_convolution`).  CPUs get the
kernels of `nfnets.native` where these are in use and serve, else the forms of `cpu_convolution`:
XLA has no fast kernel there for grouped convolutions, least of all for their gradients.

All three are linear in both of their operands, and the transposes of each are the other two; so
they can be differentiated any number of times, forwards and backwards.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from nfnets.models import (
  cpu_convolution,
  direct_convolution,
  gpu_convolution,
  native_convolution,
)
from nfnets.models.varying import vary_alike
from nfnets.models.windows import Window
from nfnets.native.lowering import register

CONVOLUTION = 'convolution'
"""What rematerialization policies call the result of every convolution."""

FORWARD = 'convolution'
INPUT_GRADIENT = 'convolution_input_gradient'
KERNEL_GRADIENT = 'convolution_kernel_gradient'
"""Names of the primitives, for who reads programs."""


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: int = 1,
  groups: int = 1,
  symmetric_padding: bool = False,
) -> jax.Array:
  """Convolves `x` [N, H, W, C] with `kernel` [h, w, C / groups, out] of odd height and width.

  The padding is 'SAME': asymmetric where the stride does not divide the size, as in TensorFlow and
  Haiku; or `h // 2` above and below, `w // 2` left and right, as in PyTorch.

  Returns:
    [N, ceil(H / stride), ceil(W / stride), out], in the dtype of `x`.
  """
  window = Window.between(
    x.shape, kernel.shape, stride=stride, groups=groups, symmetric_padding=symmetric_padding
  )
  return convolve_within(window, x, kernel)


def convolve_within(window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`convolve`, of a window that is known."""
  x, kernel = vary_alike(x, kernel)
  return checkpoint_name(_forward.bind(x, kernel, window=window), CONVOLUTION)


_Function = Callable[..., jax.Array]
_Shape = Callable[[tuple[int, ...], tuple[int, ...], Window], tuple[int, ...]]


def _primitive(
  name: str,
  *,
  default: _Function,
  cpu: _Function,
  kernel: _Function,
  gpu: _Function | None = None,
  shape: _Shape,
) -> Primitive:
  """A bilinear function of two arrays with a window, and its forms."""

  def infer(x: Any, y: Any, *, window: Window) -> Any:
    return x.update(shape=shape(x.shape, y.shape, window))

  def batch(arguments: Any, axes: Any, *, window: Window) -> tuple[jax.Array, int]:
    return jax.vmap(functools.partial(default, window=window), axes)(*arguments), 0

  def by_kernel(x: jax.Array, y: jax.Array, *, window: Window) -> jax.Array:
    made = shape(x.shape, y.shape, window)[-1]
    return (kernel if native_convolution.serves(window, x, y, made) else cpu)(x, y, window=window)

  primitive = Primitive(name)
  primitive.def_impl(jax.jit(primitive.bind, static_argnames='window'))
  primitive.def_abstract_eval(infer)
  register(primitive, default, by_kernel, on_cpu=cpu, on_gpu=gpu)
  batching.primitive_batchers[primitive] = batch
  return primitive


_forward = _primitive(
  FORWARD,
  default=direct_convolution.forward,
  cpu=cpu_convolution.forward,
  kernel=native_convolution.forward,
  shape=lambda x, kernel, window: (x[0], *window.output, kernel[3]),
)
_input_gradient = _primitive(
  INPUT_GRADIENT,
  default=direct_convolution.input_gradient,
  cpu=cpu_convolution.input_gradient,
  kernel=native_convolution.input_gradient,
  gpu=gpu_convolution.input_gradient,
  shape=lambda y, kernel, window: (y[0], *window.image, kernel[2] * window.groups),
)
_kernel_gradient = _primitive(
  KERNEL_GRADIENT,
  default=direct_convolution.kernel_gradient,
  cpu=cpu_convolution.kernel_gradient,
  kernel=native_convolution.kernel_gradient,
  shape=lambda x, y, window: (*window.kernel, x[3] // window.groups, y[3]),
)

# The cotangent of the result, the two operands of which one is not known, -> its cotangent.
ad.defbilinear(
  _forward,
  lambda ct, x, kernel, window: _input_gradient.bind(ct, kernel, window=window),
  lambda ct, x, kernel, window: _kernel_gradient.bind(x, ct, window=window),
)
ad.defbilinear(
  _input_gradient,
  lambda ct, y, kernel, window: _forward.bind(ct, kernel, window=window),
  lambda ct, y, kernel, window: _kernel_gradient.bind(ct, y, window=window),
)
ad.defbilinear(
  _kernel_gradient,
  lambda ct, x, y, window: _input_gradient.bind(y, ct, window=window),
  lambda ct, x, y, window: _forward.bind(x, ct, window=window),
)
