"""Scores of every class, as a table for other programs."""

import csv
import io
from collections.abc import Sequence

from nfnets.data.imagenet_labels import imagenet_labels, imagenet_wnids
from nfnets.training.scores import Tally

COLUMNS = ('class', 'name', 'label', 'examples', 'accuracy', 'top5', 'loss')


def per_class_csv(tally: Tally, names: Sequence[str]) -> str:
  """A row for every class that has examples.

  Args:
    tally: what an evaluation found.
    names: of the classes, as the dataset has them; for WordNet identifiers of ImageNet the English
      word is added as `label`.
  """
  words = dict(zip(imagenet_wnids(), imagenet_labels(), strict=True))
  text = io.StringIO()
  rows = csv.writer(text, lineterminator='\n')
  rows.writerow(COLUMNS)
  for index, (examples, top1, top5, loss) in enumerate(tally.per_class):
    if examples:
      means = (f'{total / examples:.6g}' for total in (top1, top5, loss))
      name = names[index]
      rows.writerow([index, name, words.get(name, name), int(examples), *means])
  return text.getvalue()
