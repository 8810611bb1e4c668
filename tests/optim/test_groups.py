import json
import pathlib

import numpy as np
import optax
import pytest

from nfnets.errors import InputError
from nfnets.optim import group_of, group_tree, in_groups
from nfnets.optim.groups import GROUPS

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'param_trees.json'
TREES = {name: model['params'] for name, model in json.loads(GOLDEN.read_text()).items()}

# Every parameter name of every model.  A name that is new here needs a look at its group first.
KNOWN_NAMES = {'w', 'b', 'gain', 'bias', 'skip_gain', 'scale', 'offset', 'bias1', 'bias2'} | {
  f'bias{i}{side}' for i in (1, 2, 3) for side in 'ab'
}


def grouped(tree):
  """Group -> the (module, name, shape) triples in it."""
  groups = {group: [] for group in GROUPS}
  for module, leaves in tree.items():
    for name, shape in leaves.items():
      groups[group_of(module, name)].append((module, name, tuple(shape)))
  return groups


@pytest.mark.parametrize('model', TREES)
def test_every_parameter_of_every_model_has_its_group(model):
  names = {name for leaves in TREES[model].values() for name in leaves}
  assert names <= KNOWN_NAMES
  groups = grouped(TREES[model])
  assert [(module.split('/')[1:], name) for module, name, _ in groups['classifier']] == [
    (['~', 'linear'], 'w')
  ]
  assert {name for _, name, _ in groups['weights']} == {'w'}
  assert {name for _, name, _ in groups['gains_biases']} == names - {'w'}
  assert all(np.sum(np.array(shape) > 1) > 1 for _, _, shape in groups['weights'])
  assert all(np.sum(np.array(shape) > 1) <= 1 for _, _, shape in groups['gains_biases'])


def test_the_groups_of_nfnet_f0():
  # 12 blocks of 4 convolutions and 2 gate layers, 4 stem convolutions, 4 shortcuts, final_conv.
  convolutions, gates = 12 * 4 + 4 + 4 + 1, 12 * 2
  groups = grouped(TREES['nfnet_f0'])
  assert groups['classifier'] == [('NFNet/~/linear', 'w', (3072, 1000))]
  assert len(groups['weights']) == convolutions + gates
  assert len(groups['gains_biases']) == 2 * convolutions + gates + 12 + 1  # skip gains, linear/b
  in_gates = [module for module, _, _ in groups['weights'] if 'squeeze_excite' in module]
  assert len(in_gates) == gates
  assert ('NFNet/~/nf_block', 'skip_gain', ()) in groups['gains_biases']
  assert ('NFNet/~/linear', 'b', (1000,)) in groups['gains_biases']


@pytest.mark.parametrize(
  ('module', 'name', 'group'),
  [
    ('NFNet/~/linear', 'w', 'classifier'),
    ('my_net/NFNet/~/linear', 'w', 'classifier'),
    ('NFNet/~/linear', 'b', 'gains_biases'),
    ('NFNet/~/linear', 'embeddings', 'weights'),
    ('NFNet/~/nf_block/~/squeeze_excite/~/linear', 'w', 'weights'),
    ('NFNet/~/nf_block/~/squeeze_excite/~/linear_1', 'w', 'weights'),
    ('linear', 'w', 'weights'),
    ('my_net/linear', 'w', 'weights'),
    ('embed', 'embeddings', 'weights'),
    ('batch_norm', 'scale', 'gains_biases'),
    ('layer_norm', 'offset', 'gains_biases'),
    ('scale', 'w', 'weights'),
  ],
)
def test_single_names(module, name, group):
  assert group_of(module, name) == group


def test_group_tree_keeps_the_structure():
  params = {'NFNet/~/linear': {'w': np.ones((2, 3)), 'b': np.ones(3)}, 'c': {'w': np.ones(())}}
  assert group_tree(params) == {
    'NFNet/~/linear': {'w': 'classifier', 'b': 'gains_biases'},
    'c': {'w': 'weights'},
  }


def test_deeper_trees_are_grouped_by_their_joined_path():
  net = {'NFNet/~/linear': {'w': np.ones(2), 'b': np.ones(2)}}
  assert group_tree({'ema': net})['ema'] == group_tree(net)


@pytest.mark.parametrize('chosen', [(), ('weights',), ('weights', 'classifier'), GROUPS])
def test_masks_are_true_inside_the_groups(chosen):
  params = {'NFNet/~/linear': {'w': np.ones(2), 'b': np.ones(2)}, 'c': {'w': np.ones(2)}}
  double = optax.masked(optax.scale(2.0), in_groups(*chosen))
  updates, _ = double.update(params, double.init(params))
  groups = group_tree(params)
  for module, leaves in updates.items():
    for name, leaf in leaves.items():
      assert np.all(leaf == (2 if groups[module][name] in chosen else 1))


def test_a_wrong_group_is_named():
  with pytest.raises(InputError, match=r"^group='gains': must be one of weights, gains_biases, cl"):
    in_groups('weights', 'gains')
