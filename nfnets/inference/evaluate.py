"""How well a network does on a dataset, whoever trained it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax

from nfnets.data.folders import class_names, find_dataset
from nfnets.data.records import open_records
from nfnets.errors import InputError
from nfnets.inference.classes import check_classes
from nfnets.inference.network import Network, from_run
from nfnets.training.evaluation import Evaluator
from nfnets.training.parallel import make_mapping
from nfnets.training.scores import Scores, Tally
from nfnets.training.step import make_eval_step
from nfnets.training.workdir import read_config

Precision = Literal['float32', 'bfloat16']
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
  """What was evaluated, and how well it did."""

  model: str
  weights: str
  """Where they are from."""
  dataset: str
  split: str
  preprocessing: dict[str, Any]
  precision: Precision
  scores: Scores
  tally: Tally = dataclasses.field(repr=False, compare=False)
  """What the scores are made of, class by class."""
  class_names: tuple[str, ...] = dataclasses.field(repr=False, compare=False)
  """As the dataset has them: ImageNet's are WordNet identifiers."""

  def to_json(self) -> dict[str, Any]:
    """All but what is class by class."""
    return {
      'model': self.model,
      'weights': self.weights,
      'dataset': self.dataset,
      'split': self.split,
      'preprocessing': self.preprocessing,
      'precision': self.precision,
      'scores': dataclasses.asdict(self.scores),
    }


def evaluate(
  network: Network,
  *,
  dataset: str,
  data_dir: str,
  split: str | None = None,
  batch_size: int = 64,
  precision: Precision = 'float32',
  mapping: Literal['pmap', 'shard_map'] = 'pmap',
  threads: int = 2,
  progress: Progress | None = None,
) -> Evaluation:
  """Scores a network on all devices; every example counts exactly once.

  Args:
    network: as `open_network` finds it.
    dataset: a row of `nfnets.data.datasets.DATASETS`, or a folder in `data_dir`.
    data_dir: where prepared data lies.
    split: in TFDS notation; the dataset's own by default.
    batch_size: images at a time, over all devices.
    precision: of the activations.
    mapping: how the work is spread over devices.
    threads: that decode.
    progress: called after every batch with the images done and those there are.

  Raises:
    InputError: there is no such data, or its classes are not those of the network.
    RunError: no image could be read.
  """
  row = find_dataset(dataset, data_dir)
  names = class_names(data_dir, row)
  check_classes(network, row, names)
  if network.model.in_channels not in (1, 3):
    raise InputError(
      f'the network takes images of {network.model.in_channels} channels, and photographs have 3, '
      'or 1 for their luminance'
    )
  split = split or row.eval_split
  records = open_records(data_dir, row, split)
  spread = make_mapping(mapping)
  row = dataclasses.replace(row, mean=network.mean, std=network.std)
  evaluator = Evaluator(
    make_eval_step(network.model, row, precision),
    spread,
    records,
    network.geometry,
    batch_size=batch_size,
    threads=threads,
  )
  model = spread.replicate(jax.device_get((network.params, network.state)))
  (tally,) = evaluator.tally(model, progress=progress)
  return Evaluation(
    model=network.model.name,
    weights=network.provenance,
    dataset=row.name,
    split=split,
    preprocessing=network.preprocessing.to_json(),
    precision=precision,
    scores=tally.scores(),
    tally=tally,
    class_names=names,
  )


def evaluate_run(
  workdir: Path,
  *,
  averaged: bool = True,
  data_dir: str | None = None,
  split: str | None = None,
  batch_size: int | None = None,
  threads: int | None = None,
  progress: Progress | None = None,
) -> Evaluation:
  """Scores the newest checkpoint of the run in `workdir` as the run does.

  Args:
    workdir: as `train` left it.
    averaged: take the moving average of the parameters, not the last ones.
    data_dir: where the prepared data lies; the run's own by default.
    split: in TFDS notation; the run's evaluation split by default.
    batch_size: images at a time; the run's own by default.
    threads: that decode; the run's own by default.
    progress: as for `evaluate`.

  Raises:
    InputError: there is no run, no checkpoint, or no such data.
  """
  config = read_config(workdir)
  return evaluate(
    from_run(workdir, averaged=averaged, data_dir=data_dir),
    dataset=config.data.dataset,
    data_dir=data_dir or config.data.data_dir,
    split=split or config.data.eval_split,
    batch_size=batch_size or config.eval_batch_size,
    precision=config.precision,
    mapping=config.mapping,
    threads=threads or config.data.threads,
    progress=progress,
  )
