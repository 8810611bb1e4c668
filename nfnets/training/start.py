"""What a run begins with where it does not begin from scratch: other people's weights."""

import jax

from nfnets.loading import load_weights
from nfnets.models.zoo import Model, Params, State
from nfnets.training.config import Config

Start = tuple[Params, State]


def load_start(config: Config, model: Model) -> Start | None:
  """The parameters and the state that `config.finetune` names; None where it names none.

  Raises:
    InputError: the weights cannot be had, or are not those of `model`.
  """
  finetune = config.finetune
  if finetune.weights is None and finetune.source is None:
    return None
  return load_weights(
    model.name if finetune.weights is None else finetune.weights,
    model,
    source=finetune.source if finetune.weights is None else None,
    new_head=finetune.new_head,
    channels=finetune.channels,
    rng=jax.random.key(config.seed),
  )
