"""ResNets on ImageNet, normalizer-free and the baselines they are compared with: 90 epochs.

    scripts/prepare.py imagenet2012 --data_dir=DIR --manual_dir=ARCHIVES
    scripts/train.py --config=configs/resnet.py:nf_resnet50 --config.data.data_dir=DIR \\
      --workdir=runs/nf_resnet50

Behind the colon stands any of `scripts/models.py '*resnet*'`.  Top-1 accuracy in percent (arXiv
2101.08692, table 1, from memory of it), plain / with dropout 0.25 and stochastic depth 0.1:

    layers  fixup_resnetN  skipinit_resnetN  nf_resnetN   resnetN (BatchNorm)
    50      74.0 / 75.9    73.7 / 75.8       75.8 / 76.8  76.8 / 76.4
    101     75.4 / 77.6    75.1 / 77.3       77.1 / 78.4  78.0 / 78.1
    152     75.8 / 78.4    75.7 / 78.0       77.6 / 79.1  78.6 / 78.8
    200     76.2 / 78.7    75.9 / 78.2       77.9 / 79.6  79.0 / 79.2
    288     76.2 / 78.4    76.3 / 78.7       78.1 / 79.5  78.8 / 79.5

The recipe is the regularized one; for the plain one, `--config.model.drop_rate=0
--config.model.stochdepth_rate=0`.  Adaptive gradient clipping (arXiv 2102.06171, figure 2) is added
by `--config.optimizer.clipping=0.01 --config.batch_size=4096`; at smaller batches 0.02 to 0.16.
"""

from nfnets.training.config import Config, ModelConfig, OptimizerConfig


def get_config(name: str = 'nf_resnet50') -> Config:
  """The recipe of table 1 of arXiv 2101.08692: batch 1024, learning rate 0.4, crops and flips.

  In a batch of another size the learning rate follows.
  """
  return Config(
    model=ModelConfig(name=name, drop_rate=0.25, stochdepth_rate=0.1),
    optimizer=OptimizerConfig(
      learning_rate=0.1, warmup_epochs=5, weight_decay=5e-5, clipping=None, ema_decay=0.99999
    ),
    batch_size=1024,
    epochs=90,
    label_smoothing=0.0,
  )
