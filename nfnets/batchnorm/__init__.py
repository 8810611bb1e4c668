"""The toolbox of "Rethinking 'Batch' in BatchNorm" (Wu and Johnson 2021, arXiv 2105.07576).

For any Haiku network with `hk.BatchNorm`, and for those of the zoo that have batch normalization.
Nothing in the network is changed: functions go in and come out.

| what | by | section |
|---|---|---|
| moving averages of any decay | `with_decay`, `ema_statistics`, `mix_averages` | 3 |
| PreciseBN, on one device or many | `precise_statistics`; `sum_statistics`, `averages_of` | 3 |
| smaller normalization batches | `ghost` | 4 |
| larger ones (SyncBN) | `synced` | 4 |
| mini-batch statistics in evaluation | `batch_statistics` | 4 |
| FrozenBN | `frozen`; `affine_constants`, `absorb_statistics` | 4 |
| domain-specific statistics, scales and offsets | `Domains` | 5 |
| statistics of the target domain | `precise_statistics` on its images | 5 |
| shuffling against leakage | `shuffle`, `unshuffle` | 6 |

Example:
  apply = functools.partial(model.apply, is_training=True)
  train_apply = batchnorm.ghost(apply, 32)                  # in the training step; then
  forward = lambda params, state, images: apply(params, state, None, images)
  state = batchnorm.precise_statistics(forward, params, state, batches)
  model.apply(params, state, None, images)                  # evaluates with them
"""

from nfnets.batchnorm.affine import Affine, absorb_statistics, affine_constants
from nfnets.batchnorm.averages import (
  mix_averages,
  norm_paths,
  read_averages,
  reset_averages,
  write_averages,
)
from nfnets.batchnorm.domains import Domains
from nfnets.batchnorm.moments import Moments
from nfnets.batchnorm.population import (
  Form,
  Sums,
  averages_of,
  ema_statistics,
  precise_statistics,
  sum_statistics,
)
from nfnets.batchnorm.shuffling import shuffle, unshuffle
from nfnets.batchnorm.transforms import batch_statistics, frozen, ghost, synced, with_decay

__all__ = [
  'Affine',
  'Domains',
  'Form',
  'Moments',
  'Sums',
  'absorb_statistics',
  'affine_constants',
  'averages_of',
  'batch_statistics',
  'ema_statistics',
  'frozen',
  'ghost',
  'mix_averages',
  'norm_paths',
  'precise_statistics',
  'read_averages',
  'reset_averages',
  'shuffle',
  'sum_statistics',
  'synced',
  'unshuffle',
  'with_decay',
  'write_averages',
]
