"""Learning rates: how high, and when."""

import jax
import jax.numpy as jnp
import optax

from nfnets.arguments import check_number


def peak_learning_rate(per_256: float, batch_size: int) -> float:
  """The linear scaling rule: `per_256` for every 256 examples in the global batch.

  NFNets use 0.1 per 256 examples (arXiv 2102.06171, appendix A.1), which is 1.6 at batch 4096.

  Raises:
    InputError: if an argument is not positive.
  """
  check_number('per_256', per_256, above=0)
  check_number('batch_size', batch_size, above=0)
  return per_256 * batch_size / 256


def warmup_cosine(
  peak: float, *, warmup_steps: int | float, total_steps: int, end: float = 0.0
) -> optax.Schedule:
  """A straight line from 0 at step 0 up to `peak`, then half a cosine down to `end`.

  Args:
    peak: the learning rate at the end of the warm-up; > 0.
    warmup_steps: length of the warm-up in steps, need not be whole (5 epochs of ImageNet in batches
      of 4096 are 1563.9 steps); 0 for none.
    total_steps: length of the whole schedule, warm-up included; `end` holds from there on.
    end: the last learning rate, between 0 and `peak`.

  Returns:
    A function from the step, counted from 0, to the learning rate.

  Raises:
    InputError: if an argument is out of its range.
  """
  check_number('peak', peak, above=0)
  check_number('total_steps', total_steps, above=0)
  check_number('warmup_steps', warmup_steps, at_least=0, below=total_steps)
  check_number('end', end, at_least=0, at_most=peak)
  return optax.warmup_cosine_decay_schedule(
    init_value=0.0,
    peak_value=peak,
    warmup_steps=warmup_steps,  # pyright: ignore[reportArgumentType]  fractions are exact there too
    decay_steps=total_steps,
    end_value=end,
  )


def hold_and_halve(
  peak: float, *, hold_steps: int | float, halving_steps: int | float
) -> optax.Schedule:
  """`peak` for `hold_steps` steps, then half of it, and half again after every `halving_steps`.

  De and Smith 2020 (arXiv 2002.10444) train Wide ResNets on CIFAR-10 so: 100 epochs, then half of
  the rate every 10 epochs.

  Args:
    peak: the learning rate in the beginning; > 0.
    hold_steps: length of the first part, need not be whole; at least 0.
    halving_steps: between two halvings, need not be whole; > 0.

  Returns:
    A function from the step, counted from 0, to the learning rate.

  Raises:
    InputError: if an argument is out of its range.
  """
  check_number('peak', peak, above=0)
  check_number('hold_steps', hold_steps, at_least=0)
  check_number('halving_steps', halving_steps, above=0)

  def schedule(step: jax.typing.ArrayLike) -> jax.Array:
    halvings = jnp.floor((jnp.asarray(step, jnp.float32) - hold_steps) / halving_steps) + 1
    return peak * 0.5 ** jnp.maximum(halvings, 0)

  return schedule
