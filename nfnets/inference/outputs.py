"""Predictions as text: for people, and for programs as lines of JSON."""

import json

from nfnets.inference.predict import Class, Prediction


def title(one: Class) -> str:
  """The name of a class, or its number where it has none."""
  return f'class {one.index}' if one.label is None else one.label


def text(prediction: Prediction) -> str:
  """The photograph's name, and under it a line for each class."""
  lines = (f'  {one.probability:7.2%}  {title(one)}' for one in prediction.classes)
  return '\n'.join([prediction.name, *lines])


def json_line(prediction: Prediction) -> str:
  """`{"file": ..., "predictions": [{"class": ..., "label": ..., "probability": ...}, ...]}`."""
  classes = [
    {'class': one.index, 'label': one.label, 'probability': one.probability}
    for one in prediction.classes
  ]
  return json.dumps({'file': prediction.name, 'predictions': classes})


def json_error(name: str, message: str) -> str:
  """`{"file": ..., "error": ...}`, for a photograph that has no prediction."""
  return json.dumps({'file': name, 'error': message})
