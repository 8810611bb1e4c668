"""Our networks against timm itself, on random weights.  Skipped where torch or timm is missing."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
import pytest
from weights.timm_trees import NAMES, empty, load, root_of

import nfnets
from nfnets.models.zoo import Model
from nfnets.weights import timm_hub
from nfnets.weights.timm_names import Params, from_timm, to_timm

torch = pytest.importorskip('torch')
timm_networks = pytest.importorskip('parity.timm_networks')

pytestmark = pytest.mark.slow

SIZES = [(64, 64), (65, 97), (83, 70)]  # 65 and 97 stay odd, 83 and 70 change on the way down
COMPARED = (
  'test_nfnet',
  'nfnet_l0',
  'eca_nfnet_l0',
  'timm_nf_resnet50',
  'nf_seresnet50',
  'nf_ecaresnet50',
  'timm_nf_regnet_b1',
  'nfnet_f0',
)


@dataclasses.dataclass(frozen=True)
class Pair:
  """One network twice, with the same weights."""

  timm: torch.nn.Module
  tensors: dict[str, np.ndarray]
  model: Model
  params: Params

  @functools.cached_property
  def apply(self) -> Callable[[Params, np.ndarray], jax.Array]:
    return jax.jit(lambda params, images: self.model.apply(params, {}, None, images)[0]['logits'])


def as_timm_computes(model: Model) -> Model:
  """Released networks with what timm changed of them: exact GELU, an epsilon that is added."""
  variant = model.variant
  if variant.activation != 'gelu':
    return model
  conventions = dataclasses.replace(
    variant.conventions, standardization_eps=1e-5, eps_is_added=True
  )
  variant = dataclasses.replace(variant, activation='gelu_exact', conventions=conventions)
  return dataclasses.replace(model, variant=variant)


def make_pair(name: str) -> Pair:
  timm_name = NAMES[name]
  network = timm_networks.randomized(timm_name, seed=0)
  tensors = timm_networks.tensors(network)
  model = as_timm_computes(nfnets.create_model(name))
  return Pair(network, tensors, model, from_timm(tensors, root_of(timm_name)))


@pytest.fixture(scope='module', params=COMPARED)
def pair(request: pytest.FixtureRequest) -> Pair:
  return make_pair(request.param)


@pytest.mark.parametrize('name', sorted(timm_hub.RELEASED.keys() - set(COMPARED)))
def test_the_rest_of_the_released_networks(name: str) -> None:
  """The large ones, at one odd size."""
  large = make_pair(name)
  assert_logits_are_timms(large, 65, 97)
  test_converted_back_bit_for_bit(large)


@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_logits_are_timms(pair: Pair, height: int, width: int) -> None:
  assert_logits_are_timms(pair, height, width)


def assert_logits_are_timms(pair: Pair, height: int, width: int) -> None:
  images = np.random.default_rng(1).standard_normal((2, height, width, 3), np.float32)
  theirs = timm_networks.logits(pair.timm, images)
  assert theirs.std() > 1, 'an error would be lost in the absolute tolerance'
  ours = pair.apply(pair.params, images)
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_every_tensor_counts(pair: Pair) -> None:
  """Else a logit could not tell whether it went to the right place."""
  images = np.random.default_rng(1).standard_normal((1, 3, 64, 64), np.float32)
  pair.timm(torch.from_numpy(images)).square().mean().backward()
  gradients = {key: tensor.grad for key, tensor in pair.timm.named_parameters()}
  pair.timm.zero_grad()
  assert gradients.keys() == pair.tensors.keys()
  for key, gradient in gradients.items():
    assert gradient.abs().max() > 0, key


def test_converted_back_bit_for_bit(pair: Pair) -> None:
  back = to_timm(pair.params)
  assert back.keys() == pair.tensors.keys()
  for key, tensor in pair.tensors.items():
    assert back[key].dtype == tensor.dtype
    assert back[key].shape == tensor.shape
    assert back[key].tobytes() == tensor.tobytes(), key


def test_timm_loads_what_we_hand_on(pair: Pair) -> None:
  state = {key: torch.from_numpy(np.array(array)) for key, array in to_timm(pair.params).items()}
  missing, unexpected = timm_networks.randomized(NAMES[pair.model.name], 2).load_state_dict(state)
  assert not missing
  assert not unexpected


@pytest.mark.parametrize('name', timm_networks.names())
def test_there_and_back_for_every_network_of_timm(name: str) -> None:
  shapes = timm_networks.tree(name).shapes
  back = to_timm(from_timm(empty(shapes), root_of(name)))
  assert {key: tensor.shape for key, tensor in back.items()} == shapes


@pytest.mark.parametrize('name', NAMES.values())
def test_the_golden_trees_are_timms(name: str) -> None:
  assert load()[name] == timm_networks.tree(name)
