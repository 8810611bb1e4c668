"""Parameter groups: which parameters decay and which are clipped, told by their names alone.

group         which parameters                                     weight decay   AGC
weights       kernels, and whatever the other two do not claim     yes            yes
gains_biases  gains, biases, the scales and offsets of norms       no             yes
classifier    the kernel of the last linear layer                  yes            no

Source: arXiv 2102.06171, section 4.1 (the last layer is never clipped) and appendix A.1 (gains and
biases never decay), with the borders drawn where the released code draws them: the bias of the
classifier counts as a bias, so it is clipped.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import optax

from nfnets.errors import InputError
from nfnets.optim.labels import label_tree

Group = Literal['weights', 'gains_biases', 'classifier']
GROUPS: tuple[Group, ...] = get_args(Group)
CLIPPED_GROUPS: tuple[Group, ...] = ('weights', 'gains_biases')
DECAYED_GROUPS: tuple[Group, ...] = ('weights', 'classifier')

# Parameter names that mean a gain or a bias: as a whole, and wherever they occur in a name.
GAIN_BIAS_NAMES = ('scale', 'offset', 'b')
GAIN_BIAS_PARTS = ('gain', 'bias')

CLASSIFIER_NAME = 'w'
CLASSIFIER_MODULE = '/~/linear'  # the end of the module path of every network's last layer
GATE_MODULE = 'squeeze_excite'  # its first linear layer has the same end, and is no classifier


def group_of(module: str, name: str) -> Group:
  """The group of the parameter `name` of the Haiku module at path `module`.

  Every parameter has a group.  Names that nfnets does not use itself ('embeddings', 'query') are
  'weights', as in the released code: in other people's modules they are decayed and clipped.  A
  linear layer counts as the classifier only if its module made it in `__init__` under the default
  name.

  >>> group_of('NFNet/~/nf_block/~/conv0', 'gain')
  'gains_biases'
  """
  if name in GAIN_BIAS_NAMES or any(part in name for part in GAIN_BIAS_PARTS):
    return 'gains_biases'
  is_last_linear = module.endswith(CLASSIFIER_MODULE) and GATE_MODULE not in module
  return 'classifier' if is_last_linear and name == CLASSIFIER_NAME else 'weights'


def group_tree(params: optax.Params) -> Any:
  """The structure of `params` with a `Group` for every leaf; see `label_tree`."""
  return label_tree(group_of, params)


def in_groups(*groups: Group) -> Callable[[optax.Params], Any]:
  """A mask for `optax.masked`: the function params -> tree of bools, True inside `groups`.

  Raises:
    InputError: if a group does not exist.
  """
  for group in groups:
    if group not in GROUPS:
      raise InputError(f'group={group!r}: must be one of {", ".join(GROUPS)}')
  return lambda params: jax.tree.map(lambda group: group in groups, group_tree(params))
