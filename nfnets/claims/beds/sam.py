"""What the two claims on SAM share: ways to train, and what is measured of each."""

import dataclasses
import time
from collections.abc import Iterable, Mapping

import numpy as np

from nfnets.claims.beds.recipe import Sam
from nfnets.claims.beds.runs import Run, accuracy, score_run
from nfnets.claims.beds.sharpness import sharpness
from nfnets.claims.beds.sizes import CPU_FEW, GPU, Bed
from nfnets.claims.beds.training import train
from nfnets.claims.claim import Cost, Measured, Results, Scale, Setting, Source

SEEDS = range(3)
_PROBED = 2000  # training images that the sharpness is measured on
_PROBE = 0.05  # at that distance


def sam_settings(ways: Mapping[str, Sam | None]) -> dict[Scale, Setting[Run]]:
  """Few images on a CPU, CIFAR-10 on a GPU."""
  return {
    Scale.CPU: Setting(cost=Cost.MINUTES, cells=_cells(CPU_FEW, 64, ways), dataset=CPU_FEW.dataset),
    Scale.GPU: Setting(cost=Cost.GPU, cells=_cells(GPU, 128, ways), dataset=GPU.dataset),
  }


def _cells(bed: Bed, batch: int, ways: Mapping[str, Sam | None]) -> dict[str, Run]:
  """Every way to train, with every seed: 'WAY seed S'."""
  cells = {}
  for seed in SEEDS:
    run = bed.run(bed.nf, batch, clipping=0.16, seed=seed)
    for way, sam in ways.items():
      recipe = dataclasses.replace(run.recipe, sam=sam)
      cells[f'{way} seed {seed}'] = dataclasses.replace(run, recipe=recipe)
  return cells


def measure_sam(run: Run, source: Source) -> Measured:
  """Loss and accuracy, the sharpness, and about how long a step took."""
  images = run.images(source)
  model = run.model(images)
  told: list[float] = []

  def tell(done: int, total: int) -> None:
    told.append(time.monotonic())
    source.tell(done, total)

  trained = train(model, images, run.recipe, tell=tell)
  probed = images.train.first(_PROBED)
  rise = sharpness(model, trained.params, trained.state, images, probed, rho=_PROBE)
  between = float(np.median(np.diff(told))) if len(told) > 1 else float('nan')
  return {
    **score_run(model, images, trained),
    'sharpness': rise,
    'seconds_between_reports': between,
  }


def accuracies(results: Results, way: str) -> list[float]:
  """On the test images in percent, of each seed."""
  return [accuracy(results, cell) for cell in of_way(results, way)]


def mean(results: Results, way: str, field: str) -> float:
  """Over seeds."""
  return float(np.mean([results[cell][field] for cell in of_way(results, way)]))


def of_way(results: Results, way: str) -> list[str]:
  """The cells of one way to train."""
  return [cell for cell in results if cell.startswith(f'{way} seed ')]


def ways_of(results: Results) -> Iterable[str]:
  """All ways to train, in order."""
  return dict.fromkeys(cell.rsplit(' seed ')[0] for cell in results)
