"""`scripts/train.py` for the micro network: a command of its own, and its recipe."""

import runpy
from pathlib import Path

from micro import VARIANT

from nfnets.models.variants import VARIANTS
from nfnets.training.config import Config, DataConfig, ModelConfig, OptimizerConfig

MICRO = 'nfnet_micro'
STEPS = 24


def get_config() -> Config:
  """24 steps over 90 images, so that batches lie across epochs; what can be random is."""
  return Config(
    model=ModelConfig(name=MICRO, stochdepth_rate=0.1, drop_rate=0.1),
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


if __name__ == '__main__':
  VARIANTS[MICRO] = VARIANT
  runpy.run_path(str(Path(__file__).parents[1] / 'scripts' / 'train.py'), run_name='__main__')
