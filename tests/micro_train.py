"""`scripts/train.py` for a network that compiles in seconds: a command of its own, and its recipe.

With DUMP=folder in the environment every process writes there what each of its devices holds when a
checkpoint is due, as `<process>-<step>.npz`.
"""

import dataclasses
import os
import runpy
from pathlib import Path
from typing import Any

import jax
import numpy as np
from micro import VARIANT

from nfnets.models.variants import VARIANTS
from nfnets.training.checkpointing import Checkpoints
from nfnets.training.config import Config, DataConfig, ModelConfig, OptimizerConfig

NAME = 'nfnet_smallest'
SMALLEST = dataclasses.replace(
  VARIANT, depths=(1, 1), widths=(16, 16), stem_channels=8, group_width=8
)
STEPS = 24
CHECKPOINTS = (4, 8, 12, 16, 20, 24)


def get_config() -> Config:
  """24 steps over 90 images, so that batches lie across epochs; what can be random is."""
  return Config(
    model=ModelConfig(name=NAME, stochdepth_rate=0.1, drop_rate=0.1),
    data=DataConfig(
      dataset='digits', train_split='train[:90]', eval_split='test[:50]',
      padding=2, flip=False, eval_margin=0,
    ),
    optimizer=OptimizerConfig(
      learning_rate=0.8, warmup_epochs=1, clipping=0.16, weight_decay=5e-4, ema_decay=0.9
    ),
    batch_size=32,
    eval_batch_size=16,
    epochs=STEPS * 32 / 90,
    precision='float32',
    log_every=1,
    eval_every=10,
    checkpoint_every=4,
  )  # fmt: skip


def dump_states(folder: str) -> None:
  """Makes every save write the values of all devices of this process as well."""
  save = Checkpoints.save

  def save_and_dump(self: Checkpoints, step: int, state: Any) -> None:
    copies = [
      [np.asarray(shard.data) for shard in leaf.addressable_shards]
      for leaf in jax.tree.leaves(state)
    ]
    values = {f'{leaf}/{i}': x for leaf, part in enumerate(copies) for i, x in enumerate(part)}
    np.savez(Path(folder) / f'{jax.process_index()}-{step}.npz', **values)
    save(self, step, state)

  Checkpoints.save = save_and_dump  # pyright: ignore[reportAttributeAccessIssue]


if __name__ == '__main__':
  VARIANTS[NAME] = SMALLEST
  if 'DUMP' in os.environ:
    dump_states(os.environ['DUMP'])
  runpy.run_path(str(Path(__file__).parents[1] / 'scripts' / 'train.py'), run_name='__main__')
