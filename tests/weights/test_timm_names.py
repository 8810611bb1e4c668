import json
from pathlib import Path

import jax
import numpy as np
import pytest
from weights.timm_trees import NAMES, Shapes, empty, load, root_of

import nfnets
from nfnets.errors import InputError
from nfnets.weights.timm_names import Params, from_timm, to_timm

TREES = load()
RELEASED = json.loads(
  (Path(__file__).parents[1] / 'golden' / 'param_trees.json').read_text(encoding='utf-8')
)


def numbered(shapes: Shapes) -> dict[str, np.ndarray]:
  """Arrays in which every number occurs once: a wrong transpose cannot go unseen."""
  rng = np.random.default_rng(0)
  sizes = [int(np.prod(shape)) for shape in shapes.values()]
  numbers = np.split(rng.permutation(sum(sizes)).astype(np.int32), np.cumsum(sizes)[:-1])
  return {
    key: part.reshape(shape) for (key, shape), part in zip(shapes.items(), numbers, strict=True)
  }


def shapes_of(params: Params) -> dict[str, dict[str, list[int]]]:
  return {
    module: {name: list(array.shape) for name, array in arrays.items()}
    for module, arrays in params.items()
  }


def without(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
  return {key: array for key, array in arrays.items() if not key.startswith(prefix)}


@pytest.fixture(scope='module')
def tensors() -> dict[str, np.ndarray]:
  """Of the smallest network."""
  return numbered(TREES['test_nfnet'].shapes)


@pytest.mark.parametrize('name', NAMES.values())
def test_the_trees_are_whole(name: str) -> None:
  tree = TREES[name]
  assert sum(int(np.prod(shape)) for shape in tree.shapes.values()) == tree.parameters


@pytest.mark.parametrize('name', NAMES.values())
def test_there_and_back_keeps_keys_and_shapes(name: str) -> None:
  shapes = TREES[name].shapes
  back = to_timm(from_timm(empty(shapes), root_of(name)))
  assert {key: tensor.shape for key, tensor in back.items()} == shapes


@pytest.mark.parametrize('number', range(7))
def test_the_released_networks_get_their_released_names(number: int) -> None:
  params = from_timm(empty(TREES[f'dm_nfnet_f{number}'].shapes), 'NFNet')
  assert shapes_of(params) == RELEASED[f'nfnet_f{number}']['params']


@pytest.mark.parametrize('name', sorted(NAMES.keys() - RELEASED.keys()))
def test_our_networks_have_the_parameters_of_timms(name: str) -> None:
  ours, _ = jax.eval_shape(nfnets.create_model(name).init, jax.random.key(0))
  theirs = from_timm(empty(TREES[NAMES[name]].shapes), root_of(NAMES[name]))
  assert shapes_of(ours) == shapes_of(theirs)


@pytest.mark.parametrize(
  ('timm_name', 'key', 'module', 'name', 'axes'),
  [
    ('dm_nfnet_f0', 'stem.conv4.weight', 'NFNet/~/stem_conv3', 'w', (2, 3, 1, 0)),
    ('dm_nfnet_f0', 'stages.0.0.skipinit_gain', 'NFNet/~/nf_block', 'skip_gain', ()),
    ('dm_nfnet_f0', 'stages.2.0.conv2b.bias', 'NFNet/~/nf_block_3/~/conv1b', 'bias', (0,)),
    (
      'nf_seresnet50',
      'stages.1.0.downsample.conv.weight',
      'NF_ResNet/~/nf_res_block_3/~/conv_shortcut',
      'w',
      (2, 3, 1, 0),
    ),
    ('nf_resnet50', 'head.fc.weight', 'NF_ResNet/~/linear', 'w', (1, 0)),
  ],
)
def test_one_tensor_by_its_name(
  timm_name: str, key: str, module: str, name: str, axes: tuple[int, ...]
) -> None:
  shapes = TREES[timm_name].shapes
  tensor = numbered({key: shapes[key]})[key]
  params = from_timm(empty(shapes) | {key: tensor}, root_of(timm_name))
  np.testing.assert_array_equal(params[module][name], tensor.transpose(axes))


def test_unit_axes_come_and_go() -> None:
  shapes = TREES['nf_regnet_b1'].shapes
  tensors = empty(shapes) | numbered(
    {key: shapes[key] for key in ('stages.0.0.conv3.gain', 'stages.1.0.attn.fc1.weight')}
  )
  params = from_timm(tensors, 'NF_RegNet')
  np.testing.assert_array_equal(
    params['NF_RegNet/~/nf_block/~/conv2']['gain'],
    tensors['stages.0.0.conv3.gain'][:, 0, 0, 0],
  )
  np.testing.assert_array_equal(
    params['NF_RegNet/~/nf_block_2/~/squeeze_excite/~/linear']['w'],
    tensors['stages.1.0.attn.fc1.weight'][:, :, 0, 0].T,
  )


def test_efficient_channel_attention_is_one_kernel() -> None:
  shapes = TREES['eca_nfnet_l0'].shapes
  key = 'stages.3.2.attn_last.conv.weight'
  tensors = empty(shapes) | numbered({key: shapes[key]})
  params = from_timm(tensors, 'NFNet')
  kernel = params['NFNet/~/nf_block_11/~/efficient_channel_attention']['w']
  np.testing.assert_array_equal(kernel, tensors[key][0, 0])


@pytest.mark.parametrize('dtype', [np.float32, np.float16, np.float64])
def test_there_and_back_is_bit_for_bit(tensors: dict[str, np.ndarray], dtype: type) -> None:
  rng = np.random.default_rng(0)
  # Every bit pattern, NaNs with their payloads included.
  given = {
    key: np.frombuffer(rng.bytes(tensor.size * np.dtype(dtype).itemsize), dtype).reshape(
      tensor.shape
    )
    for key, tensor in tensors.items()
  }
  back = to_timm(from_timm(given, 'NFNet'))
  assert back.keys() == given.keys()
  for key, tensor in given.items():
    assert back[key].dtype == tensor.dtype
    assert back[key].shape == tensor.shape
    assert back[key].tobytes() == tensor.tobytes(), key


def test_nothing_is_copied(tensors: dict[str, np.ndarray]) -> None:
  params = from_timm(tensors, 'NFNet')
  stem = params['NFNet/~/stem_conv0']['w']
  assert np.shares_memory(stem, tensors['stem.conv1.weight'])
  assert np.shares_memory(to_timm(params)['stem.conv1.weight'], stem)


def test_a_headless_network_and_another_classifier(tensors: dict[str, np.ndarray]) -> None:
  headless = without(tensors, 'head.')
  params = from_timm(headless, 'NFNet')
  assert 'NFNet/~/linear' not in params
  assert to_timm(params).keys() == headless.keys()
  other = headless | {'head.fc.weight': np.ones((7, 192)), 'head.fc.bias': np.ones(7)}
  params = from_timm(other, 'NFNet')
  assert params['NFNet/~/linear']['w'].shape == (192, 7)
  assert to_timm(params)['head.fc.weight'].shape == (7, 192)


@pytest.mark.parametrize(
  'key',
  [
    'stages.0.0.conv4.weight',
    'stages.0.0.attn.fc1.weight',  # NF-RegNet's
    'stages.00.0.conv1.weight',
    'stages.0.0.skipinit_gain.weight',
    'stem.conv5.weight',
    'head.fc.gain',
    'module.head.fc.weight',
    '',
  ],
)
def test_an_unknown_key_is_named(tensors: dict[str, np.ndarray], key: str) -> None:
  with pytest.raises(InputError, match=f"^tensors: '{key}' is no parameter of a timm network"):
    from_timm(tensors | {key: np.zeros(3)}, 'NFNet')


@pytest.mark.parametrize(
  ('missing', 'named'),
  [
    ('stages.1.', 'stages.1'),
    ('stages.0.', 'stages.0'),
    ('stages.2.0.', 'stages.2.0'),
    ('stages.2.4.', 'stages.2.4'),
    ('stages.2.0.downsample.', 'stages.2.0.downsample.conv'),
  ],
)
def test_a_missing_block_is_named(missing: str, named: str) -> None:
  tensors = without(empty(TREES['nfnet_l0'].shapes), missing)
  with pytest.raises(InputError, match=f'^tensors: {named} is missing$'):
    from_timm(tensors, 'NFNet')


def test_a_projection_inside_a_stage_has_no_place() -> None:
  tensors = empty(TREES['nfnet_l0'].shapes)
  extra = {'stages.2.3.downsample.conv.weight': np.zeros((1, 1, 1, 1))}
  with pytest.raises(InputError, match=r'stages\.2\.3\.downsample\.conv has no place here'):
    from_timm(tensors | extra, 'NFNet')


def test_huge_block_numbers_cost_nothing(tensors: dict[str, np.ndarray]) -> None:
  with pytest.raises(InputError, match=r'stages\.4 is missing'):
    from_timm(tensors | {'stages.9999.9999.conv1.bias': np.zeros(1)}, 'NFNet')
  with pytest.raises(InputError, match=r'is no parameter'):
    from_timm(tensors | {f'stages.{"9" * 5000}.0.conv1.bias': np.zeros(1)}, 'NFNet')


@pytest.mark.parametrize(
  ('key', 'shape'),
  [
    ('stem.conv1.weight', (16, 3)),
    ('stem.conv1.gain', (16,)),
    ('stem.conv1.gain', (16, 1, 1, 2)),
    ('stem.conv1.bias', ()),
    ('stages.0.0.attn_last.fc1.weight', (8, 32, 3, 3)),
    ('head.fc.weight', (1000, 192, 1, 1)),
  ],
)
def test_wrong_axes_are_named(
  tensors: dict[str, np.ndarray], key: str, shape: tuple[int, ...]
) -> None:
  with pytest.raises(InputError, match=f'^{key} has shape .* its axes should be'):
    from_timm(tensors | {key: np.zeros(shape)}, 'NFNet')


def test_an_unknown_root_is_named(tensors: dict[str, np.ndarray]) -> None:
  with pytest.raises(InputError, match=r"root='ResNet' is not known.*NF_ResNet"):
    from_timm(tensors, 'ResNet')


@pytest.mark.parametrize(
  ('module', 'name'),
  [
    ('NFNet/~/nf_block/~/conv0', 'scale'),
    ('NFNet/~/nf_block_0/~/conv0', 'w'),
    ('NFNet/~/nf_block_2', 'gain'),
    ('NFNet/~/stem_conv4', 'w'),
    ('NFNet', 'w'),
  ],
)
def test_an_unknown_parameter_is_named(
  tensors: dict[str, np.ndarray], module: str, name: str
) -> None:
  params = from_timm(tensors, 'NFNet')
  changed = params | {module: params.get(module, {}) | {name: np.zeros(3)}}
  with pytest.raises(InputError, match=f"^params: '{module}' '{name}' has no name in timm$"):
    to_timm(changed)


@pytest.mark.parametrize(
  ('missing', 'named'),
  [
    ('NFNet/~/nf_block_2', 'NFNet/~/nf_block_2'),
    ('NFNet/~/nf_block/', 'NFNet/~/nf_block'),
    ('NFNet/~/nf_block/~/conv_shortcut', 'NFNet/~/nf_block/~/conv_shortcut'),
  ],
)
def test_a_missing_block_of_ours_is_named(
  tensors: dict[str, np.ndarray], missing: str, named: str
) -> None:
  params = from_timm(tensors, 'NFNet')
  kept = {module: params[module] for module in params if not module.startswith(missing)}
  with pytest.raises(InputError, match=f'^params: {named} is missing$'):
    to_timm(kept)


def test_params_of_no_or_two_networks_are_refused(tensors: dict[str, np.ndarray]) -> None:
  params = from_timm(tensors, 'NFNet')
  with pytest.raises(InputError, match=r'modules of one network'):
    to_timm({})
  with pytest.raises(InputError, match=r"modules of one network, not of \['NFNet', 'Other'\]"):
    to_timm(params | {'Other/~/linear': {'w': np.zeros((1, 1))}})
  with pytest.raises(InputError, match=r"'ResNet' is not known"):
    to_timm({'ResNet/~/linear': {'w': np.zeros((1, 1))}})


def test_more_blocks_than_any_network_has_are_refused() -> None:
  tensors = {f'stages.0.{block}.conv1.weight': np.zeros(1) for block in range(1001)}
  with pytest.raises(InputError, match=r'^tensors: 1,001 blocks are more than any network has$'):
    from_timm(tensors, 'NFNet')


def test_a_name_in_an_error_is_one_short_line() -> None:
  with pytest.raises(InputError, match=r"^tensors: '\\x1b\[2J\\nx{1,80}\.\.\.' is no param"):
    from_timm({'\x1b[2J\n' + 'x' * 10_000: np.zeros(1)}, 'NFNet')
