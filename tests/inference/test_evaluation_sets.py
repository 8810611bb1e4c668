"""The sets that ImageNet's networks are evaluated on, from their folders to their scores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data.folders import png, write_folder
from inference.networks import linear_network

from nfnets.data.imagenet_labels import imagenet_labels, imagenet_wnids
from nfnets.data.images import EvalGeometry, decode, eval_image
from nfnets.data.subsets import IMAGENET_A
from nfnets.inference.evaluate import evaluate
from nfnets.inference.network import Network
from nfnets.inference.per_class import per_class_csv
from nfnets.inference.preprocessing import Preprocessing

CLASSES = tfds.features.ClassLabel(names=imagenet_wnids())
PREPROCESSING = Preprocessing(EvalGeometry(size=16, margin=4))
IMAGES = [
  png(image) for image in np.random.default_rng(0).integers(0, 256, (30, 20, 24, 3), np.uint8)
]


@pytest.fixture(scope='module')
def network() -> Network:
  linear = linear_network(1000)
  return Network(linear.model, linear.params, {}, PREPROCESSING, imagenet_labels(), 'drawn by lot')


def logits(network: Network) -> np.ndarray:
  """[30, 1000] in float64."""
  pixels = np.stack([eval_image(decode(image), PREPROCESSING.geometry) for image in IMAGES])
  normalized = (pixels.astype(np.float64) - PREPROCESSING.mean) / PREPROCESSING.std
  return np.einsum('nhwc,hwck->nk', normalized, np.asarray(network.params, np.float64))


def scored(network: Network, folder: Path, dataset: str, answers: list[Any], **named: Any) -> Any:
  split = 'validation' if dataset == 'imagenet2012_real' else 'test'
  below = 'imagenet_v2/matched-frequency' if 'v2' in dataset else dataset
  write_folder(folder, {split: list(zip(IMAGES, answers, strict=True))}, below=below, **named)
  return evaluate(network, dataset=dataset, data_dir=str(folder), batch_size=7)


def answers_that_are_often_right(network: Network, classes: Any = slice(None)) -> np.ndarray:
  """For every third image the class that scores best of those that occur, else another."""
  occurring = np.arange(1000)[classes]
  order = occurring[np.argsort(-logits(network)[:, occurring])]
  return np.array([order[i, 0 if i % 3 == 0 else i % 7 + 1] for i in range(len(IMAGES))])


def test_imagenet_v2(network: Network, tmp_path: Path) -> None:
  answers = answers_that_are_often_right(network)
  result = scored(network, tmp_path, 'imagenet_v2_matched_frequency', list(answers), label=CLASSES)
  assert (result.split, result.scores.examples) == ('test', 30)
  assert result.scores.accuracy == 10 / 30
  places = np.array([0 if i % 3 == 0 else i % 7 + 1 for i in range(30)])
  assert result.scores.top5 == np.mean(places < 5)


def test_imagenet_a_judges_by_its_own_classes(network: Network, tmp_path: Path) -> None:
  answers = answers_that_are_often_right(network, list(IMAGENET_A))
  result = scored(network, tmp_path, 'imagenet_a', list(answers), label=CLASSES)
  assert result.scores.accuracy == 10 / 30
  of_all = np.mean(np.argmax(logits(network), axis=1) == answers)
  assert of_all < 10 / 30, 'else the test shows nothing'


def test_imagenet_real_has_several_right_answers_or_none(network: Network, tmp_path: Path) -> None:
  best = np.argmax(logits(network), axis=1)
  wrong = (best + 1) % 1000
  answers = [[], *([[int(one), int(other)] for one, other in zip(wrong, best, strict=True)][1:20])]
  answers += [[int(one)] for one in wrong[20:]]
  result = scored(
    network, tmp_path, 'imagenet2012_real', answers,
    label=tfds.features.Sequence(CLASSES), label_key='real_label',
  )  # fmt: skip
  assert (result.scores.examples, result.scores.unreadable) == (29, 0)
  assert result.scores.accuracy == 19 / 29


def test_classes_are_named_in_the_table(network: Network, tmp_path: Path) -> None:
  answers = [5] * 20 + [999] * 10
  result = scored(network, tmp_path, 'imagenet_v2_matched_frequency', answers, label=CLASSES)
  header, first, last = per_class_csv(result.tally, result.class_names).splitlines()
  assert header == 'class,name,label,examples,accuracy,top5,loss'
  assert first.startswith(f'5,{imagenet_wnids()[5]},{imagenet_labels()[5]},20,')
  assert last.startswith('999,n15075141,')
