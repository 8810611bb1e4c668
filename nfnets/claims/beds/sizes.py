"""The two sizes that claims on training are tried at: on a CPU and on a GPU."""

import dataclasses
from typing import Any

from nfnets.claims.beds.runs import Net, Run
from nfnets.claims.beds.training import Recipe
from nfnets.optim.schedules import peak_learning_rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bed:
  """Images, a normalizer-free network and its counterpart, and how both are trained."""

  dataset: str
  pooled: int
  examples: int
  nf: Net
  batchnorm: Net
  epochs: float
  per_256: float
  """Peak learning rate for every 256 images of the batch."""
  warmup_epochs: float
  weight_decay: float
  padding: int = 0
  flip: bool = False

  def run(self, net: Net, batch_size: int, *, clipping: float | None = None, seed: int = 0) -> Run:
    """A network trained with a batch size, at the rate that goes with it."""
    recipe = Recipe(
      batch_size=batch_size,
      steps=max(1, round(self.epochs * self.examples / batch_size)),
      warmup_steps=round(self.warmup_epochs * self.examples / batch_size),
      learning_rate=peak_learning_rate(self.per_256, batch_size),
      weight_decay=self.weight_decay,
      clipping=clipping,
      padding=self.padding,
      flip=self.flip,
      seed=seed,
    )
    return Run(
      dataset=self.dataset,
      net=net,
      recipe=recipe,
      pooled=self.pooled,
      examples=self.examples,
    )


_SMALL: dict[str, Any] = {'depths': (1, 1), 'widths': (16, 32), 'strides': (2, 2)}

CPU = Bed(
  dataset='fashion_mnist',
  pooled=2,
  examples=30_000,
  nf=Net(row='nf_wide_resnet_16_2', skip_gain=1.0, **_SMALL),
  batchnorm=Net(row='wide_resnet_16_2', **_SMALL),
  epochs=1,
  per_256=1.6,
  warmup_epochs=0.1,
  weight_decay=5e-5,
)
"""Images of 14 pixels, a block in each of two stages.  These learn at 16 times the rate of
the papers' networks: batches of 16 to 256 have the rates that 256 to 4096 have there."""

CPU_FEW = dataclasses.replace(CPU, examples=2000, epochs=20, warmup_epochs=1, per_256=0.4)
"""The same, learning few images by heart."""

GPU = Bed(
  dataset='cifar10',
  pooled=1,
  examples=50_000,
  nf=Net(row='nf_wide_resnet_16_4', skip_gain=0.0),
  batchnorm=Net(row='wide_resnet_16_4'),
  epochs=20,
  per_256=0.1,
  warmup_epochs=2,
  weight_decay=5e-5,
  padding=4,
  flip=True,
)
"""Wide ResNets of 16 layers, 4 times as wide, with the zero gains of the papers."""
