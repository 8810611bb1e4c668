"""The command that shows the networks, and the README's copy of its table."""

import json
import pathlib

import pytest
from scripts.processes import ask_script

import nfnets
from nfnets.models import tables
from nfnets.models.inspection import Cost, Part

ROOT = pathlib.Path(__file__).parents[2]
ZOO = json.loads((ROOT / 'tests' / 'golden' / 'zoo.json').read_text())


def readme_table():
  readme = (ROOT / 'README.md').read_text(encoding='utf-8')
  assert readme.count('<!-- models -->\n') == readme.count('<!-- /models -->\n') == 1
  return readme.split('<!-- models -->\n')[1].split('<!-- /models -->\n')[0]


def test_the_table_of_the_readme_is_that_of_the_program():
  # The counts of the golden file, which tests/models/test_zoo.py holds against the networks.
  assert list(ZOO) == nfnets.list_models()
  costs = {name: Cost(row['parameters'], row['macs']) for name, row in ZOO.items()}
  assert tables.zoo_table(costs).markdown() + '\n' == readme_table(), (
    'README.md: put what scripts/models.py --markdown --nomemory prints between the markers'
  )


@pytest.mark.slow
def test_the_command_prints_the_table_of_the_readme():
  result = ask_script('models', '--markdown', '--nomemory')
  assert (result.returncode, result.stderr) == (0, '')
  assert result.stdout == readme_table()


def test_the_zoo_by_pattern():
  result = ask_script('models', 'nfnet_tin?')
  assert (result.returncode, result.stderr) == (0, '')
  assert result.stdout == (
    'model       parameters  multiply-adds  memory/image  train px  test px  top-1\n'
    'nfnet_tiny      1.49 M         0.03 B       0.3 MiB        32       48\n'
    '\n'
    'Multiply-adds are counted for one image of the test size. Memory is what a training step in '
    'bfloat16 keeps for every image of the training size. 1 network.\n'
  )


def test_one_network_block_by_block():
  result = ask_script('models', 'nfnet_tiny', '--blocks', '--size=96', '--markdown')
  assert (result.returncode, result.stderr) == (0, '')
  lines = result.stdout.splitlines()
  assert lines[0] == '| output  |         shape | parameters | multiply-adds |'
  assert lines[1] == '| ------- | ------------: | ---------: | ------------: |'
  assert lines[2] == '| stem    |  24 x 24 x 32 |     42,192 |    64,696,320 |'
  assert [line.split()[1] for line in lines[3:-2]] == [
    *(f'block_{i}' for i in range(5)),
    'pool',
    'logits',
  ]
  assert lines[-1] == (
    'nfnet_tiny: 1,492,637 parameters, 105,312,256 multiply-adds for one image of 96 px.'
  )


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['nfnet_f8'], "model='nfnet_f8' is not known: did you mean nfnet_f7, nfnet_f6, nfnet_f5?"),
    (['nfnet_tiny', '--csv', '--markdown'], '--csv --markdown: choose one of them'),
    (['nfnet_tiny', '--size=0'], 'size=0: must be 1 pixel or more'),
    (['--blocks'], '--blocks: name the network as well: models.py nfnet_f0 --blocks'),
  ],
)
def test_a_mistake_is_told_in_one_line(arguments, message):
  result = ask_script('models', *arguments)
  assert (result.returncode, result.stdout) == (2, '')
  assert result.stderr == f'error: {message}\n'


def test_the_table_marks_what_was_trained_with_sam_and_leaves_out_what_is_not_published():
  costs = {name: Cost(2_500_000, 3_000_000_000) for name in ('nfnet_f6', 'nfnet_f7')}
  memory = {'nfnet_f6': 3 * 2**20, 'nfnet_f7': 2**19}
  assert tables.zoo_table(costs, memory, 64).text() == (
    'model     parameters  multiply-adds  memory/image  train px  test px  top-1\n'
    'nfnet_f6      2.50 M         3.00 B       3.0 MiB       448      576  86.5*\n'
    'nfnet_f7      2.50 M         3.00 B       0.5 MiB       480      608\n'
    '\n'
    'Multiply-adds are counted for one image of 64 px. Memory is what a training step in bfloat16 '
    'keeps for every image of 64 px. Top-1 is the published accuracy on ImageNet in percent (* '
    'arXiv 2102.06171, Table 3, trained with SAM). 2 networks.'
  )
  without = tables.zoo_table({'nfnet_f0': costs['nfnet_f6']}).text()
  assert without.endswith(' (arXiv 2102.06171, Table 3). 1 network.')


def test_the_table_of_blocks_has_the_totals():
  parts = [Part('stem', (4, 4, 8), Cost(10, 1000)), Part('pool', (8,), Cost(5, 2345))]
  table = tables.blocks_table(nfnets.create_model('nfnet_tiny'), parts)
  assert table.text() == (
    'output      shape  parameters  multiply-adds\n'
    'stem    4 x 4 x 8          10          1,000\n'
    'pool            8           5          2,345\n'
    '\n'
    'nfnet_tiny: 15 parameters, 3,345 multiply-adds for one image of 48 px.'
  )
