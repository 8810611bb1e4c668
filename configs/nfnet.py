"""NFNet-F0 to F7 on ImageNet, as published: batch 4096, 360 epochs, 192 to 480 pixels.

    scripts/prepare.py imagenet2012 --data_dir=DIR --manual_dir=ARCHIVES
    scripts/train.py --config=configs/nfnet.py:f0 --config.data.data_dir=DIR --workdir=runs/f0

The same command on every host of a pod.  Top-1 accuracy of the published networks in percent:

    f0    f1    f2    f3    f4    f5    f5 with SAM   f6 with SAM
    83.6  84.7  85.1  85.7  85.9  86.0  86.3          86.5

(arXiv 2102.06171, table 3.)  F6 and F7 train with SAM here; F5 does with
`--config.optimizer.sam_rho=0.05`, and `--config.optimizer.sam_share=1` is SAM in full.  The paper
does not give the rho of these runs: 0.05 is that of its fine-tuning.  `f0_plus` to `f7_plus` are
the wider networks, of which the paper trained F4+ on another dataset only.

A device that has too little memory for its part of the batch takes it in pieces, with
`--config.micro_batch_size=32`, and recomputes activations with `--config.model.remat=block`.
"""

from nfnets.training.config import AugmentConfig, Config, ModelConfig, OptimizerConfig

WITH_SAM = ('f6', 'f7')
DEEP = ('f5', 'f6', 'f7')
"""Whose equal blocks are compiled once: one by one, F6 takes more memory to compile than to run."""


def get_config(variant: str = 'f0') -> Config:
  """The recipe of appendices A.1 and A.3 of arXiv 2102.06171.

  Sizes, dropout (stochastic depth is 0.25 for all) and RandAugment's magnitude are those of the
  network, also after `--config.model.name`; the learning rate and the length of the run follow
  from the batch.  In micro-batches of 32 SAM has the directions it has on the paper's devices,
  whatever the number of devices.
  """
  base = variant.removesuffix('_plus')
  with_sam = base in WITH_SAM
  model = ModelConfig(name=f'nfnet_{variant}')
  if base in DEEP:
    model.scan_from, model.equal_blocks = 2, 'shared'
  return Config(
    model=model,
    augment=AugmentConfig(mixup=0.2, cutmix=1.0, layers=4, magnitude=None),
    optimizer=OptimizerConfig(
      learning_rate=0.1,
      warmup_epochs=5,
      momentum=0.9,
      nesterov=True,
      weight_decay=2e-5,
      clipping=0.01,
      clip_eps=1e-3,
      sam_rho=0.05 if with_sam else None,
      sam_share=0.2,
      ema_decay=0.99999,
    ),
    batch_size=4096,
    micro_batch_size=32 if with_sam else None,
    epochs=360,
    label_smoothing=0.1,
    precision='bfloat16',
  )
