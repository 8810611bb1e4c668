"""What is kept of a claim's results, and what is not taken for them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from claims.made_up import CLAIM, Cell, with_cells

from nfnets.claims.claim import Scale
from nfnets.claims.results import (
  found,
  picture_file,
  read_results,
  results_file,
  write_results,
)
from nfnets.errors import InputError


def kept(path: Path, **measured):
  one = found(Cell(2.0), measured, 1.234)
  write_results(path, CLAIM, Scale.CPU, {'two': one})
  return one, read_results(path, CLAIM, Scale.CPU)


def test_every_kind_of_finding_comes_back_as_it_was(tmp_path):
  measured = {
    'number': 0.1, 'count': 3, 'text': 'nan', 'flag': True,
    'list': [1.0, math.inf, -math.inf], 'nested': [[1, 2], ['a']],
  }  # fmt: skip
  path = tmp_path / 'squares.json'
  one, read = kept(path, **measured, lost=math.nan)
  back = dict(read['two'].measured)
  assert math.isnan(back.pop('lost'))
  assert back == measured
  assert read['two']._replace(measured={}) == one._replace(measured={})
  assert (one.seconds, one.device) == (1.23, 'cpu')

  def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')

  json.loads(path.read_text(), parse_constant=refuse)


def test_arrays_are_kept_as_lists(tmp_path):
  one, read = kept(tmp_path / 'a.json', a=np.array([1.5, np.nan]), b=np.float32(0.5), c=(1, 2))
  measured = read['two'].measured
  assert measured['a'][0] == 1.5
  assert math.isnan(measured['a'][1])
  assert (measured['b'], measured['c']) == (0.5, [1, 2])
  assert one.measured['c'] == [1, 2]  # a rule sees at once what it will read


@pytest.mark.parametrize('value', [None, {'a': 1}, object(), 1j])
def test_other_findings_are_refused(value):
  with pytest.raises(TypeError, match='numbers, texts, and lists'):
    found(Cell(2.0), {'value': value}, 1.0)


def test_cells_that_changed_or_went_are_forgotten(tmp_path):
  path = tmp_path / 'squares.json'
  both = {'two': found(Cell(2.0), {}, 1.0), 'three': found(Cell(3.0), {}, 1.0)}
  write_results(path, CLAIM, Scale.CPU, both)
  changed = with_cells(two=Cell(2.0), three=Cell(3.5))
  assert list(read_results(path, changed, Scale.CPU)) == ['two']
  write_results(path, with_cells(three=Cell(3.0)), Scale.CPU, both)
  assert list(read_results(path, CLAIM, Scale.CPU)) == ['three']


def test_each_scale_has_files_of_its_own(tmp_path):
  names = [f(tmp_path, CLAIM, scale).name for f in (results_file, picture_file) for scale in Scale]
  assert names == ['squares.json', 'squares.gpu.json', 'squares.png', 'squares.gpu.png']
  path = tmp_path / 'squares.json'
  kept(path)
  assert read_results(tmp_path / 'none.json', CLAIM, Scale.CPU) == {}
  with pytest.raises(InputError, match=r"results of 'squares', 'cpu'"):
    read_results(path, CLAIM, Scale.GPU)


@pytest.mark.parametrize(
  'damage',
  [
    lambda text: text[: len(text) // 2],
    lambda text: '',
    lambda text: '[]',
    lambda text: '{"cells": {}}',
    lambda text: text.replace('"seconds"', '"minutes"'),
    lambda text: text.replace('1.23', '"long"'),
    lambda text: text.replace('"square": 4.0', '"square": {"x": 4.0}'),
    lambda text: text.replace('{"square": 4.0}', '4.0'),
    lambda text: text.replace('"cell": ', '"cell": 1, "was": '),
  ],
)
def test_a_damaged_file_is_named(tmp_path, damage):
  path = tmp_path / 'squares.json'
  kept(path, square=4.0)
  text = path.read_text()
  damaged = damage(text)
  assert damaged != text
  path.write_text(damaged)
  with pytest.raises(InputError, match=r'squares\.json holds no results of squares') as error:
    read_results(path, CLAIM, Scale.CPU)
  assert '\n' not in str(error.value)
