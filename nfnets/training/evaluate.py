"""Evaluating the newest checkpoint of a run."""

import dataclasses
from pathlib import Path

from nfnets.data.records import open_records
from nfnets.errors import InputError
from nfnets.training import workdir as folders
from nfnets.training.checkpointing import Checkpoints
from nfnets.training.derived import derive
from nfnets.training.evaluation import Evaluator
from nfnets.training.optimizer import make_optimizer
from nfnets.training.parallel import make_mapping
from nfnets.training.scores import Scores
from nfnets.training.state import TrainState, abstract_state
from nfnets.training.step import make_eval_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
  """What was evaluated, and how well it did."""

  workdir: str
  model: str
  step: int
  parameters: str
  """'averaged' or 'raw'."""
  dataset: str
  split: str
  scores: Scores


def evaluate_run(
  workdir: Path,
  *,
  averaged: bool = True,
  data_dir: str | None = None,
  split: str | None = None,
  batch_size: int | None = None,
) -> Evaluation:
  """Scores the newest checkpoint of the run in `workdir`.

  Args:
    workdir: as `train` left it.
    averaged: take the moving average of the parameters, not the last ones.
    data_dir: where the prepared data lies; the run's own by default.
    split: in TFDS notation; the run's evaluation split by default.
    batch_size: images at a time; the run's own by default.

  Raises:
    InputError: there is no run, no checkpoint, or no such data.
  """
  config = folders.read_config(workdir)
  config.data.data_dir = data_dir or config.data.data_dir
  config.data.eval_split = split or config.data.eval_split
  config.eval_batch_size = batch_size or config.eval_batch_size
  derived = derive(config, config.batch_size)
  records = open_records(config.data.data_dir, derived.dataset, derived.eval_split)
  mapping = make_mapping(config.mapping)
  optimizer, _ = make_optimizer(config, derived)
  with Checkpoints(folders.checkpoint_folder(workdir), read_only=True) as checkpoints:
    restored = checkpoints.restore_newest(
      abstract_state(derived.model, optimizer, mapping.global_sharding)
    )
  if restored is None:
    raise InputError(f'workdir={str(workdir)!r} holds no checkpoint yet')
  state: TrainState = mapping.from_global(restored)
  evaluate = Evaluator(
    make_eval_step(derived.model, derived.dataset, config.precision),
    mapping,
    records,
    derived.eval_geometry,
    batch_size=config.eval_batch_size,
    threads=config.data.threads,
  )
  chosen = (state.ema_params, state.ema_state) if averaged else (state.params, state.state)
  (scores,) = evaluate(chosen)
  return Evaluation(
    workdir=str(workdir),
    model=derived.model.name,
    step=int(state.step),
    parameters='averaged' if averaged else 'raw',
    dataset=derived.dataset.name,
    split=derived.eval_split,
    scores=scores,
  )
