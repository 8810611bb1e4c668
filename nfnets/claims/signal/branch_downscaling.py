"""Batch normalization makes branches small against their shortcuts, at first and later."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from nfnets.augment.normalize import normalize
from nfnets.claims.beds.images import load_images
from nfnets.claims.beds.pictures import draw_curves
from nfnets.claims.beds.residual_mlp import ResidualMLP
from nfnets.claims.beds.straight_line import Line, fit_line
from nfnets.claims.beds.training import Recipe, train
from nfnets.claims.claim import Check, Claim, Cost, Measured, Results, Scale, Setting, Source
from nfnets.claims.papers import SKIPINIT

_INITIAL, _TRAINED = 'initial', 'trained'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Downscaling:
  """A network before or behind some training."""

  network: ResidualMLP
  dataset: str = 'fashion_mnist'
  pooled: int = 2
  examples: int = 1000
  recipe: Recipe


def _cell(steps: int) -> Downscaling:
  return Downscaling(
    network=ResidualMLP(scheme='batchnorm', blocks=50),
    recipe=Recipe(batch_size=128, steps=steps, learning_rate=0.05, weight_decay=5e-4),
  )


def measure(cell: Downscaling, source: Source) -> Measured:
  """`ratios`: deviation of each branch over that of its shortcut, on test images."""
  images = load_images(source, cell.dataset, pooled=cell.pooled)
  params, state = cell.network.init(jax.random.key(cell.recipe.seed))
  if cell.recipe.steps:
    trained = train(cell.network, images, cell.recipe, tell=source.tell)
    params, state = trained.params, trained.state
  pixels = jnp.asarray(images.test.images[: cell.examples])
  x = normalize(pixels, images.mean, images.std, jnp.float32)
  flow, _ = jax.jit(cell.network.flow)(params, state, x)
  ratios = np.sqrt(np.asarray(flow.branch_variance) / np.asarray(flow.skip_variance))
  return {'ratios': ratios}


def _power(found: Measured) -> Line:
  """Of log ratio over log number of the block: -0.5 for 1/sqrt(i)."""
  ratios = np.asarray(found['ratios'])
  return fit_line(np.log(np.arange(1, len(ratios) + 1)), np.log(ratios))


def judge(results: Results) -> Sequence[Check]:
  """1/sqrt(i) at first; later branches still shrink against the shortcut."""
  first, later = _power(results[_INITIAL]), _power(results[_TRAINED])
  last = results[_TRAINED]['ratios'][-1]
  return [
    Check(
      'at first the ratio falls with the block i as i^p, p within 0.1 of -0.5',
      f'p = {first.slope:.3f}',
      abs(first.slope + 0.5) <= 0.1,
    ),
    Check(
      'at first the ratio at the first block is 1 within 25%',
      f'{results[_INITIAL]["ratios"][0]:.3f}',
      abs(results[_INITIAL]['ratios'][0] - 1) <= 0.25,
    ),
    Check(
      'after training it still falls: p between -1 and -0.2, and below one half at the last block',
      f'p = {later.slope:.3f}, {last:.3f} at the last',
      -1 <= later.slope <= -0.2 and last < 0.5,
    ),
  ]


def draw(figure: Figure, results: Results) -> None:
  """Both, and 1/sqrt(i)."""
  axes = figure.subplots()
  blocks = np.arange(1, len(results[_INITIAL]['ratios']) + 1)
  curves = {name: (blocks, found['ratios']) for name, found in results.items()}
  draw_curves(axes, curves, x='residual block i', y='deviation of the branch over the shortcut')
  axes.plot(blocks, blocks**-0.5, color='black', linewidth=1, linestyle=(0, (4, 3)), label='1/√i')
  axes.set_xscale('log')
  axes.set_yscale('log')
  axes.legend(frameon=False)


CLAIM = Claim(
  name='branch_downscaling',
  title='BatchNorm divides the branch of block i by the square root of i',
  paper=SKIPINIT,
  where='section 3',
  says='Batch normalization divides what enters a branch by the deviation of the shortcut, the '
  'square root of i at block i: deep networks are dominated by their shortcuts.',
  rule='At first the ratio of branch to shortcut is 1 at the first block within 25% and falls as '
  'i^p with p = -0.5 within 0.1; after training p is between -1 and -0.2, and the last branch '
  'less than half of its shortcut.',
  settings={
    Scale.CPU: Setting(
      cost=Cost.MINUTES,
      dataset='fashion_mnist',
      cells={_INITIAL: _cell(0), _TRAINED: _cell(500)},
    )
  },
  measure=measure,
  judge=judge,
  draw=draw,
)
