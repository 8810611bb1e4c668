"""A normalizer-free Wide ResNet on CIFAR-10, with all that NFNets are trained with: a GPU, minutes.

    scripts/prepare.py cifar10 --data_dir=data
    scripts/train.py --config=configs/cifar10.py --workdir=runs/cifar10

What it reached is in docs/results/cifar10.md.
"""

from nfnets.training.config import (
  AugmentConfig,
  Config,
  DataConfig,
  ModelConfig,
  OptimizerConfig,
)


def get_config(model: str = 'nf_wide_resnet_16_4') -> Config:
  """The recipe: AGC, MixUp and CutMix of neighbours, RandAugment, stochastic depth, averages.

  RandAugment's lengths are made for images of 32 pixels.
  """
  return Config(
    model=ModelConfig(name=model, width_factor=2.0, stochdepth_rate=0.1),
    data=DataConfig(dataset='cifar10', padding=4, eval_margin=0, workers=14, threads=1),
    augment=AugmentConfig(
      mixup=0.2, cutmix=1.0, distinct=False, layers=1, magnitude=5, translate=10, cutout=16
    ),
    optimizer=OptimizerConfig(
      learning_rate=0.2, warmup_epochs=5, weight_decay=5e-4, clipping=0.04, ema_decay=0.999
    ),
    batch_size=512,
    eval_batch_size=1000,
    epochs=100,
  )
