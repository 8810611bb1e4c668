"""The variances of a convolutional residual network with ReLU and batch normalization."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets.augment.normalize import normalize
from nfnets.claims.beds.images import load_images
from nfnets.claims.beds.pictures import draw_curves
from nfnets.claims.beds.straight_line import fit_line
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import SKIPINIT
from nfnets.models.execution import Execution
from nfnets.models.signals import signal_propagation
from nfnets.models.zoo import Model, create_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
  """A network of one stage at initialization, fed with images."""

  blocks: int
  width: int
  dataset: str
  pooled: int = 1
  examples: int
  seed: int = 0

  def model(self, channels: int) -> Model:
    """A Wide ResNet with all blocks at one resolution: nothing resets the shortcut."""
    model = create_model(
      'wide_resnet_16_2', 10, in_channels=channels, execution=Execution(scan_from=2)
    )
    variant = dataclasses.replace(
      model.variant,
      depths=(self.blocks,),
      widths=(self.width,),
      strides=(1,),
      stem_channels=self.width,
    )
    return dataclasses.replace(model, variant=variant)


def measure(cell: Statistics, source: Source) -> Measured:
  """At every block: the signal, and the moving statistics of the normalization in front of it."""
  images = load_images(source, cell.dataset, pooled=cell.pooled)
  pixels = jnp.asarray(images.train.images[: cell.examples])
  x = normalize(pixels, images.mean, images.std, jnp.float32)
  model = cell.model(pixels.shape[-1])
  params, state = model.init(jax.random.key(cell.seed))
  signals = signal_propagation(model, params, x, state=state)
  forward = jax.jit(functools.partial(model.apply, is_training=True))
  _, state = forward(params, state, None, x)
  moving = {'mean_ema': [], 'var_ema': []}
  for number in range(cell.blocks):
    block = 'WideResNet/~/res_block_v2' + (f'_{number}' if number else '')
    for name, values in moving.items():
      values.append(np.asarray(state[f'{block}/~/bn0/~/{name}']['average']))
  return {
    'variance': signals.variance,
    'squared_mean': signals.squared_mean,
    'branch_variance': signals.branch_variance,
    'moving_variance': [float(np.mean(value)) for value in moving['var_ema']],
    'moving_squared_mean': [float(np.mean(np.square(value))) for value in moving['mean_ema']],
  }


def judge(results: Results) -> Sequence[Check]:
  """Lines; and the moving statistics are those of the block before."""
  (found,) = results.values()
  variance, squared_mean = np.asarray(found['variance']), np.asarray(found['squared_mean'])
  blocks = np.arange(1, len(variance) + 1)
  line, mean_line = fit_line(blocks, variance), fit_line(blocks, squared_mean)
  pairs = (('moving_variance', variance), ('moving_squared_mean', squared_mean))
  apart = [float(np.max(np.abs(np.asarray(found[name])[1:] / of[:-1] - 1))) for name, of in pairs]
  return [
    Check(
      'variance of the shortcut: a straight line (98% explained) of slope 0.5 to 1',
      f'slope {line.slope:.3f}, {line.explained:.2%} explained',
      line.explained >= 0.98 and 0.5 <= line.slope <= 1,
    ),
    Check(
      'squared mean of the shortcut: a straight line (90% explained) that rises',
      f'slope {mean_line.slope:.3f}, {mean_line.explained:.2%} explained',
      mean_line.explained >= 0.9 and mean_line.slope > 0,
    ),
    Check(
      'moving statistics of each normalization within 5% of those of the block before',
      f'variance at most {apart[0]:.1%}, squared mean at most {apart[1]:.1%} apart',
      max(apart) <= 0.05,
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """Variances, and squared means."""
  (found,) = results.values()
  blocks = np.arange(1, len(found['variance']) + 1)
  left, right = figure.subplots(1, 2)
  draw_curves(
    left,
    {
      'shortcut, behind the block': (blocks, found['variance']),
      'moving variance, next normalization': (blocks[:-1], found['moving_variance'][1:]),
      'end of the branch': (blocks, found['branch_variance']),
    },
    x='residual block',
    y='variance, mean over channels',
  )
  draw_curves(
    right,
    {
      'shortcut, behind the block': (blocks, found['squared_mean']),
      'moving mean, next normalization': (blocks[:-1], found['moving_squared_mean'][1:]),
    },
    x='residual block',
    y='squared mean, mean over channels',
  )


CLAIM = Claim(
  name='relu_statistics',
  title='With ReLU the shortcut grows by a bit less than 1 a block, and its mean grows too',
  paper=SKIPINIT,
  where='Figure 4b',
  says='In a convolutional ReLU network with BatchNorm the variance of the shortcut is '
  'proportional to the depth, with a slope a bit below 1; the mean of its channels grows as well.',
  rule='Variance and squared mean of the shortcut are straight lines over the block, explained to '
  '98% and 90%; the slope of the variance is 0.5 to 1, and that of the squared mean positive. '
  'The moving statistics are within 5% of what they stand for.',
  settings={
    Scale.CPU: Setting(
      cost=Cost.SECONDS,
      dataset='fashion_mnist',
      cells={
        '30 blocks': Statistics(blocks=30, width=64, dataset='fashion_mnist', pooled=2, examples=64)
      },
    ),
    Scale.GPU: Setting(
      cost=Cost.GPU,
      dataset='cifar10',
      cells={'100 blocks': Statistics(blocks=100, width=128, dataset='cifar10', examples=256)},
    ),
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
