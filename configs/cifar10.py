"""A small NFNet on CIFAR-10, with all that the large ones are trained with: for two CPU cores.

    scripts/prepare.py cifar10 --data_dir=data
    scripts/train.py --config=configs/cifar10.py --workdir=runs/cifar10

What it reached is in docs/results/cifar10.md.  For a GPU there are larger networks, more epochs and
larger batches; this one has not been tried:

    --config=configs/cifar10.py:nf_wide_resnet_16_4 --config.model.width_factor=2 \\
      --config.epochs=100 --config.batch_size=512 --config.optimizer.warmup_epochs=5 \\
      --config.optimizer.weight_decay=5e-4 --config.optimizer.clipping=0.04 \\
      --config.precision=bfloat16 --config.data.workers=14
"""

from nfnets.training.config import (
  AugmentConfig,
  Config,
  DataConfig,
  ModelConfig,
  OptimizerConfig,
)


def get_config(model: str = 'nfnet_tiny') -> Config:
  """The recipe: AGC, MixUp and CutMix of neighbours, RandAugment, stochastic depth, averages.

  RandAugment's lengths are made for images of 32 pixels, and it has one layer: five epochs are few
  for more.
  """
  return Config(
    model=ModelConfig(name=model, drop_rate=0.1, stochdepth_rate=0.05),
    data=DataConfig(dataset='cifar10', train_size=32, test_size=32, padding=4, eval_margin=0),
    augment=AugmentConfig(
      mixup=0.2, cutmix=1.0, distinct=False, layers=1, magnitude=5, translate=10, cutout=16
    ),
    optimizer=OptimizerConfig(
      learning_rate=0.2, warmup_epochs=1, weight_decay=5e-5, clipping=0.08, ema_decay=0.999
    ),
    batch_size=128,
    eval_batch_size=500,
    epochs=5,
    precision='float32',
    log_every=50,
  )
