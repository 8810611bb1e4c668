"""The command that draws signal propagation plots."""

import csv
import io

import numpy as np
import pytest
from PIL import Image
from scripts.processes import ask_script, assert_told, run_script

from nfnets.models.signal_prediction import predict_signals
from nfnets.models.zoo import create_model

SMALL = ('--size=16', '--batch=4')


@pytest.mark.slow
def test_two_networks_as_values_and_as_a_picture(tmp_path):
  picture = tmp_path / 'both.png'
  names = ('nf_wide_resnet_16_2', 'fixup_wide_resnet_16_2')
  done = run_script('signals', *names, *SMALL, '--csv', f'--picture={picture}')
  assert done.returncode == 0, done.stderr
  assert done.stderr == f'wrote {picture}\n'  # what is printed is for programs
  rows = list(csv.DictReader(io.StringIO(done.stdout)))
  assert [(row['model'], row['block']) for row in rows] == [
    (name, f'block_{i}') for name in names for i in range(6)
  ]
  free, fixup = rows[:6], rows[6:]
  predicted = predict_signals(create_model(names[0], skip_gain=1.0), 16)
  for curve in ('squared_mean', 'variance', 'branch_variance'):
    found = [float(row[f'predicted_{curve}']) for row in free]
    np.testing.assert_allclose(found, getattr(predicted, curve), rtol=1e-3)
  assumed = [float(row['assumed_variance']) for row in free]
  np.testing.assert_allclose(assumed, predicted.assumed_variance)
  assert all(0.5 < float(row['variance']) < 2 for row in free)
  assert {row['assumed_variance'] for row in fixup} == {''}
  assert {row['branch_variance'] for row in fixup} == {'0.0'}
  with Image.open(picture) as image:
    assert (image.format, image.size) == ('PNG', (1100, 600))


def test_the_table_and_the_gain(tmp_path):
  done = ask_script('signals', 'nf_wide_resnet_16_2', *SMALL, '--skip_gain=0', '--seed=3')
  assert (done.returncode, done.stderr) == (0, '')
  header, *rows, empty, note = done.stdout.splitlines()
  assert ' '.join(header.split()) == (
    'nf_wide_resnet_16_2 squared mean predicted variance predicted assumed branch predicted'
  )
  assert [row.split()[0] for row in rows] == [f'block_{i}' for i in range(6)]
  assert rows[0].split()[1:4:2] == rows[1].split()[1:4:2]  # nothing was added to the shortcut
  assert empty == ''
  assert (
    note == '4 images of 16 x 16 standard normal pixels, seed 3; skip gain 0 where there is one.'
  )


@pytest.mark.parametrize(
  ('arguments', 'parts'),
  [
    ([], ['name at least one network: signals.py nf_resnet50']),
    (['nf_resnet51'], ["model='nf_resnet51' is not known", 'nf_resnet50']),
    (['nf_wide_resnet_16_2', '--size=1'], ['1 x 1', 'at least 2 x 2']),
    (['nf_resnet50', '--picture=plot.jpg'], ['--picture=plot.jpg', '.png']),
    (['nf_resnet50', '--picture=no/such/plot.png'], ["there is no folder 'no/such'"]),
  ],
)
def test_a_mistake_is_told_in_one_line(arguments, parts):
  done = ask_script('signals', *arguments)
  assert_told(done, 2, *parts)
  assert done.stdout == ''
