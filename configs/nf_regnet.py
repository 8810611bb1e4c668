"""NF-RegNet-B0 to B8 on ImageNet, as released: batch 1024, 360 epochs, MixUp and CutMix.

    scripts/prepare.py imagenet2012 --data_dir=DIR --manual_dir=ARCHIVES
    scripts/train.py --config=configs/nf_regnet.py:b0 --config.data.data_dir=DIR --workdir=runs/b0

Top-1 accuracy in percent (arXiv 2101.08692, table 3, from memory of it):

    b0    b1    b2    b3    b4    b5
    76.8  78.6  79.6  80.6  81.7  82.0
"""

from nfnets.training.config import AugmentConfig, Config, ModelConfig, OptimizerConfig


def get_config(variant: str = 'b0') -> Config:
  """The recipe of the released code for arXiv 2101.08692, section 6.

  Sizes and dropout are those of the network, and so is the weight decay, 5e-5 and 1e-5 more with
  each level; the appendix of the paper has other numbers for it.  These networks are older than
  adaptive gradient clipping; `--config.optimizer.clipping=0.01` adds it.
  """
  return Config(
    model=ModelConfig(name=f'nf_regnet_{variant}'),
    augment=AugmentConfig(mixup=0.2, cutmix=1.0),
    optimizer=OptimizerConfig(
      learning_rate=0.1,
      end_learning_rate=0.001,
      weight_decay=None,
      clipping=None,
      ema_decay=0.99999,
    ),
    batch_size=1024,
    epochs=360,
  )
