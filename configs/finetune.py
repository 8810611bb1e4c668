"""Fine-tunes released weights on pictures of your own: DIR/train/<class>/*.jpg, and DIR/validation.

    scripts/prepare.py folder --from=DIR --data_dir=data --name=flowers
    scripts/train.py --config=configs/finetune.py --config.data.dataset=flowers --workdir=runs/f0

The weights are those that DeepMind released for NFNet-F0, downloaded once.  Another network, say F3
or one of timm's, is named behind the file; weights of your own are a file:

    --config=configs/finetune.py:nfnet_f3
    --config=configs/finetune.py:eca_nfnet_l0
    --config=configs/finetune.py --config.finetune.weights=FILE

With few pictures, let less of the network learn (`--config.finetune.freeze_to=stage_1`, or `neck`
for the head alone) or the first blocks more slowly (`--config.finetune.layer_decay=0.8`).  Pictures
of another size need `--config.data.train_size` and `--config.data.test_size`, no other weights.
For fewer epochs than 12 shorten the warm-up too, `--config.optimizer.warmup_epochs`; for fewer
pictures than some thousands take a smaller `--config.batch_size`.
"""

from nfnets.training.config import Config, FineTuneConfig, ModelConfig, OptimizerConfig

_DEEPMIND = tuple(f'nfnet_f{number}' for number in range(7))


def get_config(model: str = 'nfnet_f0') -> Config:
  """The recipe for one network: arXiv 2102.06171, appendix A.5, in small.

  The paper fine-tunes NFNets in batches of 2048 with the rate 0.1, a warm-up of a third of the
  steps, half a cosine, SAM, and the regularization below.  SAM takes its direction from a fifth of
  the batch, as where the paper trains F5 and F6.
  """
  return Config(
    model=ModelConfig(name=model, drop_rate=0.25, stochdepth_rate=0.1),
    finetune=FineTuneConfig(source='deepmind' if model in _DEEPMIND else 'timm'),
    optimizer=OptimizerConfig(
      learning_rate=0.1 * 256 / 2048,
      warmup_epochs=4,
      weight_decay=1e-5,
      sam_rho=0.05,
      ema_decay=0.9999,
    ),
    batch_size=256,
    eval_batch_size=256,
    epochs=12,
    log_every=10,
  )
