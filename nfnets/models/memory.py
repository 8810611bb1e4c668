"""What one training step needs in memory, read off the traced program: nothing is compiled.

Counted for every image is what the forward pass keeps for the backward pass: what `jax.vjp` hands
from one to the other, except that a value computed elementwise from a single other one counts as
that one, because compilers compute it again.  So the inputs and results of convolutions, poolings
and matrix products count, each once, and the sums of shortcut and branch.  Activations keep their
input alone (`nfnets.models.recomputed`); hyperbolic tangents and error functions elsewhere are not
computed again.

What XLA allocates beside the fixed part, by its own account (`memory_analysis`) of the compiled
gradient for two batches of images of the training size, was this multiple of the count:

- for an H100, in bfloat16: 0.97 (nf_resnet50), 1.00 (resnet50), 1.02 (nf_regnet_b0); of a small
  NFNet 1.13, with its blocks as a loop 1.01, rematerialized 1.22.  All temporaries by the count,
  for one batch: 1.02 (nfnet_f0), 1.03 (nfnet_f1), 1.02 (nfnet_f3), 1.08 (nfnet_f5).
- on CPUs, in float32: 1.33 (nfnet_f0), 1.49 (a small NFNet): the forms of convolutions that are
  fast there work on copies of what they read.  In bfloat16 twice that: they compute in float32.
- for a TPU v5e, in bfloat16: about 0.35 (nfnet_tiny): it computes again what its convolutions read.

More than 1 is what a step holds for the moment it works on a layer, and, where it is computed
again, on a block.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from nfnets.models.convolution import FORWARD, INPUT_GRADIENT, KERNEL_GRADIENT
from nfnets.models.inspection import count_parameters, parameter_shapes, square_image
from nfnets.models.zoo import Model

_COPIES = 4  # parameters, gradients, momentum, averaged parameters
_EXAMPLES = 65537  # a prime above all widths: what it divides grows with the batch


class TrainingMemory(NamedTuple):
  """Bytes that one training step needs on one device."""

  fixed: int
  """Whatever the batch: parameters, gradients, momentum and averaged parameters, all float32."""
  per_image: int
  """For every image of the batch: what the forward pass keeps for the backward pass."""


def training_memory(
  model: Model, size: int | None = None, dtype: Any = jnp.bfloat16
) -> TrainingMemory:
  """Memory of one training step of a network with softmax cross-entropy.

  Args:
    model: the network; its `execution` says what is rematerialized.
    size: side of the images in pixels; the training size by default.
    dtype: of the images, in which the network computes.

  Raises:
    InputError: the network takes no images of that size or dtype.
  """
  size = model.variant.train_size if size is None else size
  image = square_image(model, size, dtype)
  # Equal blocks as loops are traced once.  The loops that are none in fact count as what they are.
  is_looped = model.execution.equal_blocks == 'loop'
  shortest_loop = model.execution.scan_from if is_looped else None
  execution = dataclasses.replace(model.execution, scan_from=2, equal_blocks='loop')
  model = dataclasses.replace(model, execution=execution)
  params, state = parameter_shapes(model)

  def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
    outputs, _ = model.apply(params, zeros, jax.random.key(0), images, is_training=True)
    if 'logits' not in outputs:
      return jnp.mean(outputs['pool'])  # stands for the loss of whatever follows
    scores = jax.nn.log_softmax(outputs['logits'])
    return -jnp.mean(jnp.take_along_axis(scores, labels[:, None], axis=-1))

  label = jax.ShapeDtypeStruct((), jnp.int32)
  return TrainingMemory(
    fixed=_COPIES * 4 * count_parameters(params),
    per_image=_count_kept(loss, params, image, label, shortest_loop=shortest_loop or math.inf),
  )


def count_kept(function: Callable[..., Any], params: Any, *examples: Any) -> int:
  """Bytes for every example that `function(params, *batches)` keeps for its backward pass.

  Args:
    function: a differentiable JAX function, of which the gradient by `params` is taken.
    params: a tree of arrays, or of `jax.ShapeDtypeStruct`s that stand for them.
    *examples: likewise; `function` takes them with an axis for the batch in front.
  """
  return _count_kept(function, params, *examples, shortest_loop=0)


def _count_kept(
  function: Callable[..., Any], params: Any, *examples: Any, shortest_loop: float
) -> int:
  def keep(params: Any, *batches: Any) -> Any:
    _, backward = jax.vjp(lambda params: function(params, *batches), params)
    return backward  # a tree of what it keeps

  def batch(example: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((_EXAMPLES, *example.shape), example.dtype)

  program = jax.make_jaxpr(keep)(params, *jax.tree.map(batch, examples)).jaxpr
  kept = _Reader(shortest_loop).read(program, list(map(_value, program.invars)))
  return sum(origin.bytes for origin in {value.origin for value in kept if value})


class _Value:
  """An array that grows with the batch."""

  def __init__(self, bytes_each: int, numbers: int):
    self.bytes = bytes_each
    self.numbers = numbers
    self.origin = self
    """What it can be computed from elementwise."""


_Values = Sequence[_Value | None]  # None stands for what does not grow with the batch

_READ_MEMORY = (
  FORWARD,
  INPUT_GRADIENT,
  KERNEL_GRADIENT,
  'conv_general_dilated',
  'dot_general',
  'reduce_window_sum',
  'reduce_window_max',
)
_NOT_REPEATED = ('tanh', 'erf', 'erfc')


def _value(variable: Any) -> _Value | None:
  numbers, rest = divmod(math.prod(variable.aval.shape), _EXAMPLES)
  return None if rest or not numbers else _Value(numbers * variable.aval.dtype.itemsize, numbers)


@dataclasses.dataclass(frozen=True)
class _Reader:
  """Follows values through a program."""

  shortest_loop: float
  """A shorter `lax.scan` stands for its steps one after the other."""

  def read(self, program: Jaxpr, arguments: _Values) -> _Values:
    """What the program returns for these arguments."""
    values: dict[Any, _Value | None] = dict(zip(program.invars, arguments, strict=True))

    def look_up(atoms: Sequence[Any]) -> _Values:
      return [None if hasattr(atom, 'val') else values.get(atom) for atom in atoms]

    for equation in program.eqns:
      results = self._results(equation, look_up(equation.invars))
      values.update(zip(equation.outvars, results, strict=True))
    return look_up(program.outvars)

  def _results(self, equation: JaxprEqn, operands: _Values) -> _Values:
    params, new = equation.params, list(map(_value, equation.outvars))
    match equation.primitive.name:
      case 'jit':
        return self.read(params['jaxpr'].jaxpr, operands)
      case 'closed_call' | 'custom_jvp_call' | 'custom_vjp_call':
        return self.read(params['call_jaxpr'].jaxpr, operands)
      case 'cond' if params.get('branches_platforms'):
        # JAX hands on what any platform needs; the last branch is that of all others.
        return self.read(params['branches'][-1].jaxpr, operands[1:])
      case 'scan':
        return self._of_loop(equation, operands, new)
      case name if name in _READ_MEMORY:
        for operand in filter(None, operands):
          operand.origin = operand
        return new
      case name if name.startswith('reduce') or name in _NOT_REPEATED or _holds_program(equation):
        return new
    return [_elementwise(value, operands) for value in new]

  def _of_loop(self, loop: JaxprEqn, operands: _Values, new: _Values) -> _Values:
    step, length = loop.params['jaxpr'].jaxpr, loop.params['length']
    constant, carried = loop.params['num_consts'], loop.params['num_carry']
    arguments = [
      _value(variable) if operand or constant <= i < constant + carried else None
      for i, (variable, operand) in enumerate(zip(step.invars, operands, strict=True))
    ]
    kept = self.read(step, arguments)
    results = [value and result for value, result in zip(kept, new, strict=True)]
    if length >= self.shortest_loop:
      return results

    @functools.cache
    def of_all_steps(origin: _Value) -> _Value:
      return _Value(length * origin.bytes, length * origin.numbers)

    # Behind what the last step gives there is what all steps give.
    for value, result in zip(kept[carried:], results[carried:], strict=True):
      if value and result:
        result.origin = of_all_steps(value.origin)
    return results


def _elementwise(result: _Value | None, operands: _Values) -> _Value | None:
  origins = {operand.origin for operand in operands if operand}
  if result is None or not origins:
    return None  # the same for every example, such as zeros
  most = max(origin.numbers for origin in origins)
  large = [origin for origin in origins if 2 * origin.numbers > most]
  if len(large) == 1:
    result.origin = large[0]
  return result


def _holds_program(equation: JaxprEqn) -> bool:
  return any(isinstance(value, (Jaxpr, ClosedJaxpr)) for value in equation.params.values())
