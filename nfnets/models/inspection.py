"""What a network costs: parameters, and multiply-adds counted from the traced program.

Nothing here computes a network; everything is read off its jaxpr.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from nfnets.errors import InputError
from nfnets.models import activated_convolution, convolution
from nfnets.models.execution import Execution
from nfnets.models.residual import feature_names
from nfnets.models.zoo import Model


class Cost(NamedTuple):
  """What a network needs for one image."""

  parameters: int
  macs: int
  """Multiply-adds."""


class Part(NamedTuple):
  """What a network computes between one of its named outputs and the one before."""

  name: str
  """Of the output at its end: 'stem', 'block_0', ..., 'pool', 'logits'."""
  shape: tuple[int, ...]
  """Of that output for one image: (height, width, channels), or (channels,)."""
  cost: Cost


def count_macs(function: Callable[..., Any], *args: Any) -> int:
  """Multiply-adds of the convolutions and matrix products in `function(*args)`.

  The published "FLOPs" of image networks are this number, for one image at the test size.
  Multiplications with padding count.  Of alternatives (`lax.cond`) the largest counts; of forms for
  several platforms (`lax.platform_dependent`) that of all others; of `pmap` and `shard_map`, what
  one device does.

  Args:
    function: any JAX function of arrays.
    *args: arrays, or `jax.ShapeDtypeStruct`s that stand for them.

  Raises:
    InputError: there are multiply-adds in a loop of unknown length (`lax.while_loop`).
  """
  return _macs(jax.make_jaxpr(function)(*args).jaxpr)


def count_parameters(params: Any) -> int:
  """Numbers in a tree of arrays or `jax.ShapeDtypeStruct`s."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


@functools.lru_cache(maxsize=1)  # what looks at a network looks at it more than once
def parameter_shapes(model: Model) -> tuple[Any, Any]:
  """What `model.init` makes, each array as a `jax.ShapeDtypeStruct`; not to be changed."""
  return model.shapes()


def square_image(model: Model, size: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
  """Stands for one image that a network takes: [size, size, channels].

  Raises:
    InputError: `size` is below one pixel.
  """
  if size < 1:
    raise InputError(f'size={size}: must be 1 pixel or more')
  return jax.ShapeDtypeStruct((size, size, model.in_channels), dtype)


def count_cost(model: Model, size: int | None = None) -> Cost:
  """Parameters and multiply-adds of a network.

  Args:
    model: the network.
    size: side of the image in pixels; the test size by default.
  """
  # Equal blocks as loops are traced once, and counted as often as they run.
  model = dataclasses.replace(model, execution=Execution(scan_from=2))
  params, state = parameter_shapes(model)
  image = _image(model, size)

  def forward(params: Any, state: Any, images: jax.Array) -> Any:
    return model.apply(params, state, None, images)

  macs = count_macs(forward, params, state, image)
  return Cost(count_parameters(params), macs)


def describe_blocks(model: Model, size: int | None = None) -> list[Part]:
  """A network part by part: the stem, every block, up to the pooled vector, the classifier.

  Args:
    model: the network.
    size: side of the image in pixels; the test size by default.
  """

  ends_of_parts = [
    name for name in feature_names(model.variant) if name.startswith(('stem', 'block_'))
  ]

  def forward(params: Any, state: Any, images: jax.Array) -> dict[str, jax.Array]:
    outputs, _ = model.apply(params, state, None, images, return_features=ends_of_parts)
    return outputs

  trees = parameter_shapes(model)
  program = jax.make_jaxpr(forward, return_shape=True)
  traced, outputs = program(*trees, _image(model, size))
  names = sorted(outputs)  # in the order in which JAX flattens a dict
  ends = dict(zip(traced.jaxpr.outvars, names, strict=True))
  unread = set(traced.jaxpr.invars[: len(jax.tree.leaves(trees[0]))])

  parts, parameters, macs = [], 0, 0
  for equation in traced.jaxpr.eqns:
    read = unread.intersection(_variables(equation))
    unread -= read
    parameters += sum(math.prod(variable.aval.shape) for variable in read)
    macs += _macs_of(equation)
    for name in (ends[variable] for variable in equation.outvars if variable in ends):
      parts.append(Part(name, outputs[name].shape[1:], Cost(parameters, macs)))
      parameters, macs = 0, 0
  return parts


def _image(model: Model, size: int | None) -> jax.ShapeDtypeStruct:
  image = square_image(model, model.variant.test_size if size is None else size)
  return jax.ShapeDtypeStruct((1, *image.shape), image.dtype)


def _variables(equation: JaxprEqn) -> Iterator[Any]:
  return (atom for atom in equation.invars if not hasattr(atom, 'val'))  # literals are no variables


def _macs(jaxpr: Jaxpr) -> int:
  return sum(map(_macs_of, jaxpr.eqns))


def _macs_of(equation: JaxprEqn) -> int:
  match equation.primitive.name:
    case convolution.FORWARD | activated_convolution.ACTIVATED:
      return _convolution(equation.outvars[0], equation.invars[1])
    case convolution.INPUT_GRADIENT:
      return _convolution(*equation.invars)
    case convolution.KERNEL_GRADIENT:
      return _convolution(equation.invars[1], equation.outvars[0])
    case 'conv_general_dilated':
      _, *summed = equation.params['dimension_numbers'].rhs_spec
      return _products(equation, equation.invars[1], summed)
    case 'dot_general':
      (summed, _), _ = equation.params['dimension_numbers']
      return _products(equation, equation.invars[0], summed)
    case 'cond' if equation.params.get('branches_platforms'):
      return _macs(equation.params['branches'][-1].jaxpr)
    case 'cond':
      return max(_macs(branch.jaxpr) for branch in equation.params['branches'])
    case 'scan':
      return equation.params['length'] * _macs(equation.params['jaxpr'].jaxpr)
  within = sum(map(_macs, _inner(equation)))
  if within and equation.primitive.name == 'while':
    raise InputError('function: its lax.while_loop holds multiply-adds, and has no known length')
  return within


def _convolution(result: Any, kernel: Any) -> int:
  """Of a convolution and of its gradients: every number of its result meets the kernel once."""
  return math.prod(result.aval.shape) * math.prod(kernel.aval.shape[:-1])


def _products(equation: JaxprEqn, operand: Any, summed: Iterable[int]) -> int:
  """Every output is a sum over these axes of the operand."""
  output: Any = equation.outvars[0]
  return math.prod(output.aval.shape) * math.prod(operand.aval.shape[axis] for axis in summed)


def _inner(equation: JaxprEqn) -> Iterator[Jaxpr]:
  """The programs inside one operation: of `jit`, `jax.checkpoint`, custom derivatives and so on."""
  for value in equation.params.values():
    for one in value if isinstance(value, (tuple, list)) else [value]:
      if isinstance(one, ClosedJaxpr):
        yield one.jaxpr
      elif isinstance(one, Jaxpr):
        yield one
