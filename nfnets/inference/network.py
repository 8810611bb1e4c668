"""A network that is ready to be used, wherever its weights are from."""

import dataclasses
from pathlib import Path
from typing import Any

from nfnets import loading
from nfnets.data.folders import class_names
from nfnets.data.imagenet_labels import imagenet_labels, imagenet_wnids
from nfnets.data.images import CropGeometry, EvalGeometry
from nfnets.errors import InputError
from nfnets.inference.preprocessing import Preprocessing, from_json
from nfnets.models.zoo import Model
from nfnets.training.derived import Derived
from nfnets.training.restored import restore_run
from nfnets.weights import timm_hub
from nfnets.weights.deepmind import RELEASED
from nfnets.weights.own import Header


@dataclasses.dataclass(frozen=True)
class Network:
  """A model with its weights, and what else it takes to use it."""

  model: Model
  params: Any
  state: Any
  preprocessing: Preprocessing
  labels: tuple[str, ...] | None
  """Names of the classes; None where nobody knows them."""
  provenance: str
  """Where the weights are from, in words."""

  @property
  def geometry(self) -> EvalGeometry | CropGeometry:
    """How images are cut."""
    return self.preprocessing.geometry

  @property
  def mean(self) -> tuple[float, float, float]:
    """Of the pixels, on the scale 0..255."""
    return self.preprocessing.mean

  @property
  def std(self) -> tuple[float, float, float]:
    """Of the pixels, on the scale 0..255."""
    return self.preprocessing.std

  def save(self, path: Path, form: loading.Form = 'nfnets') -> None:
    """Writes the weights with all that is known about them; see `nfnets.save_weights`."""
    header = Header(
      self.model.name,
      self.model.options,
      self.provenance,
      self.preprocessing.to_json(),
      self.labels,
    )
    loading.save(path, loading.Loaded(self.model, self.params, self.state, header), form)


def open_network(
  *,
  weights: str | None = None,
  model: str | None = None,
  workdir: Path | None = None,
  averaged: bool = True,
  size: int | None = None,
) -> Network:
  """A network by what people call its weights.

  Args:
    weights: a file; or 'deepmind' or 'timm' for what they released.
    model: name of the network, where the weights do not tell.
    workdir: the folder of a run, instead of weights.
    averaged: of a run, take the moving average of the parameters, not the last ones; weights have
      no choice.
    size: side of the images; by default what the weights are made for.

  Raises:
    InputError: there are no such weights, or they are not of this network.
  """
  if (weights is None) == (workdir is None):
    raise InputError('give either weights or the workdir of a run')
  if weights is not None and not averaged:
    raise InputError(
      f'averaged=False (--raw): weights={weights!r} is no run, and has no average beside it'
    )
  if workdir is not None:
    if model is not None:
      raise InputError(f'model={model!r}: the run in {workdir} knows its network; leave it out')
    network = from_run(workdir, averaged=averaged)
  elif weights in ('deepmind', 'timm') and not Path(weights).exists():
    network = _released(weights, model)
  else:
    network = _from_file(str(weights), model)
  return dataclasses.replace(network, preprocessing=network.preprocessing.resized(size))


def from_run(workdir: Path, *, averaged: bool = True, data_dir: str | None = None) -> Network:
  """What a run has learnt so far; arguments and errors as `restore_run`."""
  run = restore_run(workdir, averaged=averaged, data_dir=data_dir)
  derived = run.derived
  what = 'averaged' if averaged else 'raw'
  return Network(
    derived.model,
    run.params,
    run.state,
    Preprocessing(derived.eval_geometry, derived.dataset.mean, derived.dataset.std),
    _labels_of(derived, run.config.data.data_dir),
    f'{what} parameters after step {run.step} of a run on {derived.dataset.name}',
  )


def _released(source: loading.Source, model: str | None) -> Network:
  if model is None:
    raise InputError(f'weights={source!r}: which network? Name one of them: model=nfnet_f0')
  loaded = loading.load(model, source=source)
  return _from_loaded(loaded, _preprocessing_of(loaded.model, source))


def _from_file(weights: str, model: str | None) -> Network:
  loaded = loading.load(weights, model)
  known = loaded.header.preprocessing
  preprocessing = from_json(known) if known else _preprocessing_of(loaded.model, None)
  return _from_loaded(loaded, preprocessing)


def _from_loaded(loaded: loading.Loaded, preprocessing: Preprocessing) -> Network:
  labels = loaded.header.labels
  if labels is not None and len(labels) != loaded.model.num_classes:
    raise InputError(
      f'the weights name {len(labels)} classes, and the network has {loaded.model.num_classes}'
    )
  if labels is None and loaded.model.num_classes == len(imagenet_labels()):
    labels = imagenet_labels()
  return Network(
    loaded.model,
    loaded.params,
    loaded.state,
    preprocessing,
    labels and tuple(map(_shown, labels)),
    _shown(loaded.header.provenance),
  )


def _shown(text: str) -> str:
  """What a file says, in one line that moves no cursor."""
  return ''.join(one for one in ' '.join(text.split()) if one.isprintable())


def _preprocessing_of(model: Model, source: loading.Source | None) -> Preprocessing:
  """timm's for what timm released or alone trained, so that its accuracy comes out."""
  if source == 'timm' or (source is None and model.name in timm_hub.RELEASED.keys() - RELEASED):
    released = timm_hub.RELEASED[model.name]
    geometry = CropGeometry(
      size=released.test_size, fraction=released.crop_fraction, squash=released.squash
    )
    return Preprocessing(geometry, released.mean, released.std)
  return Preprocessing(EvalGeometry(size=model.variant.test_size))


def _labels_of(derived: Derived, data_dir: str) -> tuple[str, ...] | None:
  """The names of the classes a run learnt, as far as its data is still there."""
  try:
    names = class_names(data_dir, derived.dataset)
  except InputError:
    return None
  if len(names) != derived.model.num_classes:
    return None
  return imagenet_labels() if names == imagenet_wnids() else names
