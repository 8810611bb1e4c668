"""Wide ResNets on CIFAR-10, in the schemes of the SkipInit paper: 200 epochs at batch 128.

    scripts/prepare.py cifar10 --data_dir=data
    scripts/train.py --config=configs/wide_resnet.py:fixup_wide_resnet_16_4 --workdir=runs/fixup

Behind the colon stands any of `scripts/models.py '*wide_resnet*'`: BatchNorm (`wide_resnet_16_4`),
SkipInit, division by the square root of 2, Fixup and the normalizer-free one, in 16, 100 and 1,000
layers.  The paper searched the learning rate for each over powers of 2: try
`--config.optimizer.learning_rate=0.1` and its neighbours.
"""

from nfnets.training.config import Config, DataConfig, ModelConfig, OptimizerConfig


def get_config(name: str = 'skipinit_wide_resnet_16_4') -> Config:
  """The recipe of section 4 of De and Smith 2020, arXiv 2002.10444, from memory of it.

  The learning rate is constant for 100 epochs, then half of it every 10.
  """
  return Config(
    model=ModelConfig(name=name),
    data=DataConfig(dataset='cifar10', padding=4, eval_margin=0),
    optimizer=OptimizerConfig(
      learning_rate=0.1,
      schedule='halving',
      hold_epochs=100,
      halving_epochs=10,
      weight_decay=5e-4,
      clipping=None,
      ema_decay=0.999,
    ),
    batch_size=128,
    epochs=200,
    label_smoothing=0.0,
    precision='float32',
  )
