"""The rules of the claims on training: what the papers predict passes, its opposite does not."""

from collections.abc import Mapping

import pytest
from matplotlib.figure import Figure

from nfnets.claims.claim import Scale
from nfnets.claims.learning import (
  agc_batch_size,
  agc_clipping_factor,
  agc_layers,
  agc_norms,
  augmentation_gap,
  ema,
  explicit_regularization,
  fast_sam,
  sam_gain,
  skip_gain_under_agc,
  small_batch,
  transfer,
)


def scored(test, train=0.9, *, loss=0.1, sharpness=0.1, diverged=False):
  return {
    'test_accuracy': test,
    'train_accuracy': train,
    'train_loss': loss,
    'test_loss': 1.0,
    'diverged': diverged,
    'sharpness': sharpness,
    'seconds_between_reports': 1.0,
    'steps': 10,
  }


def seeds(claim, **found: Mapping):
  """The cells 'WAY seed S' of a claim, each with what its way finds; '_' is a blank."""
  cells = claim.CLAIM.settings[Scale.CPU].cells
  by_way = {way.replace('_', ' '): one for way, one in found.items()}
  return {cell: by_way[cell.rsplit(' seed ')[0]] for cell in cells}


def batches(claim, table):
  """Of 'KIND BATCH' cells, from KIND -> accuracies in the order of the batches."""
  cells = claim.CLAIM.settings[Scale.CPU].cells
  sizes = sorted({int(cell.split()[-1]) for cell in cells})
  return {
    cell: scored(table[cell.rsplit(' ', 1)[0]][sizes.index(int(cell.split()[-1]))])
    for cell in cells
  }


def grid(claim, value):
  """Of the last number in a cell's name."""
  return {
    cell: scored(value(cell, float(cell.split()[-1])))
    for cell in claim.CLAIM.settings[Scale.CPU].cells
  }


def factor(*edges):
  """Clipping above the edge of its batch fails; below it, the larger the better."""
  cells = agc_clipping_factor.CLAIM.settings[Scale.CPU].cells
  batches = sorted({int(cell.split()[1]) for cell in cells})

  def value(cell, clipping):
    edge = edges[batches.index(int(cell.split()[1]))]
    return 0.3 if clipping > edge else 0.8 + 0.01 * clipping

  return grid(agc_clipping_factor, value)


def layers(paper, everything, stem, stage):
  cells = agc_layers.CLAIM.settings[Scale.CPU].cells
  by_start = {'all but': paper, 'all seed': everything, 'stem': stem, 'stage': stage}
  return {
    cell: scored(next(v for start, v in by_start.items() if cell.startswith(start)))
    for cell in cells
  }


def norms(*, plain_width):
  def value(cell, factor):
    width = plain_width if cell.startswith('plain') else 64
    return 0.8 if 1 / width <= factor <= width else 0.4

  return grid(agc_norms, value)


def averaged(raw, mean, cold):
  progress = [(i + 1) / 20 for i in range(20)]
  one = {
    'progress': progress,
    'as they are': [raw] * 19 + [mean],
    'averaged': [mean] * 20,
    'averaged without warm-up': [cold] * 20,
  }
  return {'seed 0': one, 'seed 1': one}


def gains(*, took, share, unclipped):
  climbs = {
    cell: {'took': took, 'predicted': [605, 853]}
    for cell in skip_gain_under_agc.CLAIM.settings[Scale.CPU].cells
    if cell.startswith('rate')
  }
  bound = [1e-3, 1e-2]
  clipped = scored(0.8) | {'largest_gain': [share * b for b in bound], 'bound': bound}
  spared = scored(0.8) | {'largest_gain': [1e-3, unclipped], 'bound': bound}
  return climbs | {
    'AGC': clipped, 'AGC, skip gains unclipped': spared, 'no AGC': spared,
  }  # fmt: skip


def transferred(bn, nf, scratch):
  cells = transfer.CLAIM.settings[Scale.CPU].cells
  return {
    cell: {'tuned': bn if cell.startswith('BN') else nf, 'scratch': scratch, 'pretrained': 0.9}
    for cell in cells
  }


WITH_AGC = {'BN': [0.9] * 3, 'NF': [0.9, 0.89, 0.1], 'NF + AGC': [0.9] * 3}
ALL_AUGMENTED = ('MixUp', 'CutMix', 'RandAugment', 'all')
SHARP, BLUNT = scored(0.8, sharpness=0.1), scored(0.82, sharpness=0.02)

# claim, what passes, then what must not pass
CASES = {
  'agc_batch_size': (
    agc_batch_size,
    batches(agc_batch_size, WITH_AGC),
    batches(agc_batch_size, WITH_AGC | {'NF': [0.9] * 3}),
    batches(agc_batch_size, WITH_AGC | {'NF + AGC': [0.9, 0.9, 0.85]}),
    batches(agc_batch_size, WITH_AGC | {'NF': [0.8, 0.8, 0.1]}),
  ),
  'agc_clipping_factor': (
    agc_clipping_factor,
    factor(1.28, 0.32, 0.08),
    factor(1.28, 1.28, 1.28),
    factor(0.08, 0.32, 1.28),
  ),
  'agc_layers': (
    agc_layers,
    layers(0.9, 0.88, 0.9, 0.5),
    layers(0.9, 0.92, 0.9, 0.5),
    layers(0.9, 0.88, 0.5, 0.5),
    layers(0.9, 0.88, 0.9, 0.9),
  ),
  'agc_norms': (agc_norms, norms(plain_width=1), norms(plain_width=64), norms(plain_width=1e-9)),
  'small_batch': (
    small_batch,
    batches(small_batch, {'BN': [0.6, 0.8, 0.85], 'NF': [0.85] * 3}),
    batches(small_batch, {'BN': [0.85] * 3, 'NF': [0.85] * 3}),
    batches(small_batch, {'BN': [0.6, 0.8, 0.85], 'NF': [0.7, 0.8, 0.85]}),
  ),
  'explicit_regularization': (
    explicit_regularization,
    seeds(
      explicit_regularization,
      BN=scored(0.82, loss=0.2),
      NF=scored(0.8, loss=0.1),
      NF_regularized=scored(0.83, loss=0.3),
    ),
    seeds(
      explicit_regularization,
      BN=scored(0.82, loss=0.05),
      NF=scored(0.8, loss=0.1),
      NF_regularized=scored(0.83, loss=0.3),
    ),
    seeds(
      explicit_regularization,
      BN=scored(0.82, loss=0.2),
      NF=scored(0.8, loss=0.1),
      NF_regularized=scored(0.8, loss=0.1),
    ),
  ),
  'augmentation_gap': (
    augmentation_gap,
    {'none': scored(0.8, 0.99)} | {name: scored(0.8, 0.85) for name in ALL_AUGMENTED},
    {'none': scored(0.8, 0.85)} | {name: scored(0.8, 0.99) for name in ALL_AUGMENTED},
    {'none': scored(0.8, 0.99)} | {name: scored(0.1, 0.1) for name in ALL_AUGMENTED},
  ),
  'ema': (ema, averaged(0.8, 0.85, 0.1), averaged(0.85, 0.8, 0.1), averaged(0.8, 0.85, 0.84)),
  'sam_gain': (
    sam_gain,
    seeds(sam_gain, SGD=SHARP, SAM=BLUNT),
    seeds(sam_gain, SGD=BLUNT, SAM=SHARP),
    seeds(sam_gain, SGD=SHARP, SAM=scored(0.82, sharpness=0.1)),
  ),
  'fast_sam': (
    fast_sam,
    seeds(fast_sam, SGD=SHARP, whole_batch=BLUNT, fifth_of_it=BLUNT, fifth_of_another=SHARP),
    seeds(fast_sam, SGD=SHARP, whole_batch=BLUNT, fifth_of_it=BLUNT, fifth_of_another=BLUNT),
    seeds(fast_sam, SGD=SHARP, whole_batch=BLUNT, fifth_of_it=SHARP, fifth_of_another=SHARP),
    seeds(fast_sam, SGD=BLUNT, whole_batch=SHARP, fifth_of_it=SHARP, fifth_of_another=SHARP),
  ),
  'transfer': (
    transfer,
    transferred(0.8, 0.8, 0.7),
    transferred(0.8, 0.8, 0.79),
    transferred(0.8, 0.78, 0.7),
  ),
  'skip_gain_under_agc': (
    skip_gain_under_agc,
    gains(took=[605, 853], share=0.9, unclipped=0.5),
    gains(took=[604, 853], share=0.9, unclipped=0.5),
    gains(took=[605, 853], share=1.1, unclipped=0.5),
    gains(took=[605, 853], share=0.9, unclipped=0.01),
  ),
}


def passes(claim, results) -> bool:
  assert set(results) == set(claim.CLAIM.settings[Scale.CPU].cells)
  return all(check.holds for check in claim.CLAIM.judge(results))


@pytest.mark.parametrize('name', CASES)
def test_the_rule_accepts_what_is_claimed_and_rejects_its_opposite(name):
  claim, good, *bad = CASES[name]
  assert claim.CLAIM.name == name
  assert passes(claim, good)
  assert [passes(claim, results) for results in bad] == [False] * len(bad)


def test_what_diverged_counts_as_nothing_right():
  results = batches(agc_batch_size, WITH_AGC | {'NF': [0.9] * 3})
  largest = next(cell for cell in results if cell.startswith('NF 2'))
  results[largest] = scored(float('nan'), float('nan'), diverged=True)
  assert passes(agc_batch_size, results)


@pytest.mark.parametrize('name', CASES)
def test_the_picture_shows_what_was_found(name):
  claim, good, *_ = CASES[name]
  figure = Figure()
  claim.CLAIM.draw(figure, good)
  assert figure.axes
  assert all(axes.get_ylabel() for axes in figure.axes)
  assert all(axes.lines or axes.patches for axes in figure.axes)
