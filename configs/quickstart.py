"""A small NFNet learns handwritten digits in about a minute on two CPU cores.

    scripts/prepare.py digits --data_dir=data
    scripts/train.py --config=configs/quickstart.py --workdir=runs/quickstart

`make train` runs both.
"""

from nfnets.training.config import Config, DataConfig, ModelConfig, OptimizerConfig


def get_config() -> Config:
  """The recipe."""
  return Config(
    model=ModelConfig(name='nfnet_tiny', stochdepth_rate=0.1),
    data=DataConfig(
      dataset='digits', train_size=16, test_size=16, padding=2, flip=False, eval_margin=0
    ),
    # Few steps: a gain that starts at zero moves at most clipping * eps a step, so clip late.
    optimizer=OptimizerConfig(
      learning_rate=0.2, warmup_epochs=2, clipping=0.16, weight_decay=5e-4, ema_decay=0.99
    ),
    batch_size=64,
    eval_batch_size=180,
    epochs=20,
    precision='float32',
    log_every=20,
  )
