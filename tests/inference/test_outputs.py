import json

import numpy as np

from nfnets.inference.outputs import json_error, json_line, text
from nfnets.inference.predict import Class, Prediction

PREDICTION = Prediction(
  'photos/a "b".jpg',
  (Class(207, 'Golden Retriever', 0.98765), Class(3, None, 0.01)),
  np.zeros((2, 2, 3), np.uint8),
)


def test_text():
  assert text(PREDICTION) == ('photos/a "b".jpg\n   98.77%  Golden Retriever\n    1.00%  class 3')


def test_one_line_of_json_for_each_photo():
  line = json_line(PREDICTION)
  assert '\n' not in line
  assert json.loads(line) == {
    'file': 'photos/a "b".jpg',
    'predictions': [
      {'class': 207, 'label': 'Golden Retriever', 'probability': 0.98765},
      {'class': 3, 'label': None, 'probability': 0.01},
    ],
  }


def test_a_line_for_a_photo_that_has_no_prediction():
  assert json.loads(json_error('ü.jpg', 'why')) == {'file': 'ü.jpg', 'error': 'why'}
