"""Residual networks of fully connected layers: a thousand layers deep, and still fast on a CPU.

The schemes are those of De and Smith 2020 (arXiv 2002.10444), in pre-activation form: a block is
`h' = (h + alpha * gain * f(h)) / divisor`, and `f` is activation, layer, activation, layer.  The
blocks are one `lax.scan` over stacked parameters: `[blocks, in, out]`.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nfnets.claims.beds.running_averages import BlockState, fresh_averages, normalize
from nfnets.errors import InputError
from nfnets.models.activations import Activation, find_activation
from nfnets.models.plan import walk
from nfnets.models.standardization import SCALED
from nfnets.models.variants import FixupRules

Leaves = Mapping[str, jax.Array]
Tree = dict[str, dict[str, jax.Array]]

ROOT = 'ResidualMLP'
STEM, BLOCK, HEAD = (f'{ROOT}/~/{name}' for name in ('stem', 'block', 'linear'))
NORM = f'{ROOT}/~/norm'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheme:
  """What holds the signal of a deep network in bounds, or does not."""

  normalized: bool = False
  """Batch normalization precedes every activation; no biases."""
  standardized: bool = False
  """Scaled weight standardization, gamma-scaled activations, and betas."""
  gained: bool = False
  """SkipInit's gain ends the branch."""
  ruled: bool = False
  """Fixup: its rules for first weights, and scalars for biases and scale."""
  alpha: float = 1.0
  divisor: float = 1.0
  """Of the sum of shortcut and branch."""


SCHEMES = {
  'batchnorm': Scheme(normalized=True),
  'plain': Scheme(),
  'skipinit': Scheme(gained=True),
  'sqrt2': Scheme(divisor=2**0.5),
  'fixup': Scheme(ruled=True),
  'nf': Scheme(standardized=True, gained=True, alpha=0.2),
}


class Flow(NamedTuple):
  """The signal at every block, [blocks] each: averages over the channels."""

  skip_square: jax.Array
  """Mean square of the block's input: of the shortcut."""
  skip_variance: jax.Array
  """Variance of the same over the batch."""
  branch_square: jax.Array
  """Mean square of what the branch adds, gain and alpha included."""
  branch_variance: jax.Array
  """Variance of the same over the batch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResidualMLP:
  """Stem -> residual blocks -> activation -> dropout -> classifier.

  It has `init` and `apply` as a `Model` has them.  Weights start as He et al. have them, normal
  with variance 2 / fan-in; those behind no activation or behind the identity with 1 / fan-in.
  """

  scheme: str
  """Key of `SCHEMES`."""
  blocks: int
  """The d of 1/sqrt(d) and of Fixup."""
  width: int = 64
  layers: int = 2
  """Of each block."""
  inputs: int = 14 * 14
  """Pixels of an image, times channels."""
  classes: int = 10
  skip_gain: float = 0.0
  """First value of SkipInit's gains."""
  fixup_rules: FixupRules = 'both'
  drop_rate: float = 0.0
  """Dropout before the classifier, while training."""
  activation: str = 'relu'
  """Key of `activations.ACTIVATIONS`; 'identity' makes a deep linear network."""

  def init(self, rng: jax.Array) -> tuple[Tree, Tree]:
    """Fresh parameters, and state (empty without batch normalization)."""
    scheme = SCHEMES[self.scheme]
    stem, head, *others = jax.random.split(rng, 2 + self.layers)
    blocks, width = self.blocks, self.width
    params: Tree = {
      STEM: {'w': _normal(stem, (self.inputs, width), 1.0), 'b': jnp.zeros(width)},
      HEAD: {
        'w': _normal(head, (width, self.classes), self._first_logits()),
        'b': jnp.zeros(self.classes),
      },
    }
    for i, key in enumerate(others):
      leaves = {'w': _normal(key, (blocks, width, width), self._first_weights(i))}
      if scheme.standardized:
        leaves['gain'] = jnp.ones((blocks, width))
      if not (scheme.normalized or scheme.ruled):
        leaves['b'] = jnp.zeros((blocks, width))
      params[f'{BLOCK}/~/dense{i}'] = leaves
    if scheme.gained:
      params[BLOCK] = {'skip_gain': jnp.full(blocks, self.skip_gain, jnp.float32)}
    if scheme.ruled:
      biases = [f'bias{i}{side}' for i in range(self.layers) for side in 'ab'] + ['bias_end']
      params[BLOCK] = {name: jnp.zeros(blocks) for name in biases} | {'scale': jnp.ones(blocks)}
    if not scheme.normalized:
      return params, {}
    norms = {f'{BLOCK}/~/norm{i}': (blocks, width) for i in range(self.layers)} | {NORM: (width,)}
    for path, shape in norms.items():
      params[path] = {'scale': jnp.ones(shape), 'offset': jnp.zeros(shape)}
    return params, {path: fresh_averages(shape) for path, shape in norms.items()}

  def apply(
    self,
    params: Tree,
    state: Tree,
    rng: jax.Array | None,
    images: jax.Array,
    *,
    is_training: bool = False,
  ) -> tuple[dict[str, jax.Array], Tree]:
    """Runs it on `images` [N, ...] of `inputs` numbers each; returns {'logits': ...} and state."""
    x, state, _ = self._body(params, state, images, is_training=is_training)
    if SCHEMES[self.scheme].normalized:
      x, state[NORM] = normalize(params[NORM], state[NORM], x, is_training=is_training)
    x = self._activate(x)
    if is_training and self.drop_rate:
      if rng is None:
        raise InputError(f'rng=None: drop_rate={self.drop_rate} needs a key in training')
      kept = jax.random.bernoulli(rng, 1 - self.drop_rate, x.shape)
      x = jnp.where(kept, x / (1 - self.drop_rate), 0)
    return {'logits': x @ params[HEAD]['w'] + params[HEAD]['b']}, state

  def flow(self, params: Tree, state: Tree, images: jax.Array) -> tuple[Flow, Tree]:
    """The signal as in training on `images`, and the state after it."""
    _, state, flow = self._body(params, state, images, is_training=True)
    return flow, state

  def _body(
    self, params: Tree, state: Tree, images: jax.Array, *, is_training: bool
  ) -> tuple[jax.Array, Tree, Flow]:
    x = images.reshape(len(images), -1) @ params[STEM]['w'] + params[STEM]['b']
    stacked = {path: leaves for path, leaves in params.items() if path.startswith(BLOCK)}
    averages = {path: leaves for path, leaves in state.items() if path.startswith(BLOCK)}

    def step(x: jax.Array, leaves: tuple[Tree, BlockState, jax.Array]) -> Any:
      of_block, averages, beta = leaves
      added, averages = self._branch(of_block, averages, x, beta, is_training=is_training)
      flow = Flow(*_moments(x), *_moments(added))
      return (x + added) / SCHEMES[self.scheme].divisor, (averages, flow)

    x, (averages, flow) = jax.lax.scan(step, x, (stacked, averages, self._betas()))
    return x, state | averages, flow

  def _branch(
    self, leaves: Tree, averages: BlockState, x: jax.Array, beta: jax.Array, *, is_training: bool
  ) -> tuple[jax.Array, BlockState]:
    """What one block adds to its shortcut."""
    scheme, own, after = SCHEMES[self.scheme], leaves.get(BLOCK, {}), dict(averages)
    y = x
    for i in range(self.layers):
      if scheme.normalized:
        path = f'{BLOCK}/~/norm{i}'
        y, after[path] = normalize(leaves[path], averages[path], y, is_training=is_training)
      if scheme.ruled:
        y = self._activate(y + own[f'bias{i}a']) + own[f'bias{i}b']
      else:
        y = self._activate(y)
      if scheme.standardized and i == 0:
        y = y * beta
      y = self._dense(leaves[f'{BLOCK}/~/dense{i}'], y)
    if scheme.ruled:
      y = y * own['scale'] + own['bias_end']
    if scheme.gained:
      y = y * (scheme.alpha * own['skip_gain'])
    return y, after

  def _dense(self, leaves: Leaves, x: jax.Array) -> jax.Array:
    w = leaves['w']
    if SCHEMES[self.scheme].standardized:
      w = SCALED(w, leaves['gain'])
    y = x @ w
    return y + leaves['b'] if 'b' in leaves else y

  def _activate(self, x: jax.Array) -> jax.Array:
    activation: Activation = find_activation(self.activation)
    return activation(x) if SCHEMES[self.scheme].standardized else activation.function(x)

  def _betas(self) -> jax.Array:
    """[blocks] what normalizer-free blocks multiply their input by."""
    alpha = SCHEMES[self.scheme].alpha
    places = walk(
      self.width, widths=(self.width,), depths=(self.blocks,), strides=(1,), alpha=alpha
    )
    return jnp.array([place.beta for place in places], jnp.float32)

  def _first_weights(self, layer: int) -> float:
    """Standard deviation of a branch's weights, times the square root of the fan-in."""
    he = 1.0 if self.activation == 'identity' else 2**0.5
    is_last = layer == self.layers - 1
    if not SCHEMES[self.scheme].ruled:
      return he
    if is_last:
      return 0.0 if self.fixup_rules in ('both', 'zeros') else he
    shrunken = self.fixup_rules in ('both', 'shrunken')
    return he * (self.blocks ** (-1 / (2 * self.layers - 2)) if shrunken else 1.0)

  def _first_logits(self) -> float:
    scheme = SCHEMES[self.scheme]
    if scheme.ruled and self.fixup_rules in ('both', 'zeros'):
      return 0.0
    return 0.01 * self.width**0.5 if scheme.standardized else 1.0


@functools.partial(jax.jit, static_argnums=(1, 2))
def _normal(key: jax.Array, shape: tuple[int, ...], scale: float) -> jax.Array:
  """Weights [..., in, out] of standard deviation `scale / sqrt(in)`."""
  return jax.random.normal(key, shape) * (scale / math.sqrt(shape[-2]))


def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean square of `x` [N, C], and its variance over the batch."""
  return jnp.mean(jnp.square(x)), jnp.mean(jnp.var(x, 0))
